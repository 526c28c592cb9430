// `host:port`, as POSTERN_LISTEN has it.
import { isIP } from "node:net";
import { invalid } from "../../core/app-error.js";

export interface ListenAddress {
  /** Without brackets. */
  host: string;
  /** 0: the system chooses. */
  port: number;
}

export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host !== undefined && port <= 65_535) return { host, port };
  throw invalid(
    `POSTERN_LISTEN is ${JSON.stringify(text.slice(0, 100))}: it must be host:port, for example 127.0.0.1:7700 or [::1]:7700.`,
  );
}

/** True when only this machine can reach the host. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  if (isIP(bare) === 4) return bare.startsWith("127.");
  return bare === "::1" || bare === "localhost";
}

export const formatAddress = ({ host, port }: ListenAddress): string =>
  `${host.includes(":") ? `[${host}]` : host}:${port}`;
