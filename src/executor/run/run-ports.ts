// The materialised ports of one run: those of earlier tries that need not be computed again, and those written now.
import { access, constants, stat } from "node:fs/promises";
import type { PortResult } from "../../contract/postern/v1/port_registry.js";
import { globalPortId, type OutputPort, type PortKey } from "../../core/plan.js";
import { portKeyFromWire, portKeyToWire, schemaToWire } from "../../rpc/plan-codec.js";
import { localPath, type ObjectStore } from "./object-store.js";
import { portFileName, type WrittenPort } from "./result-writer.js";

export interface RunPorts {
  isThere(port: PortKey): boolean;
  /** Local file of a port, whether it is there already or not. */
  pathOf(port: PortKey): string;
  rowsOf(port: PortKey): bigint | undefined;
  add(port: OutputPort, written: WrittenPort): PortResult;
  /** What this run has written. */
  written(): PortResult[];
  /** Local files of earlier tries that this run may read. */
  readablePaths(): string[];
}

/** Takes over what earlier tries left, as far as it is still there, whole and readable. */
export async function openRunPorts(store: ObjectStore, alreadyMaterialized: PortResult[]): Promise<RunPorts> {
  const earlier = new Map<string, { path: string; rows: bigint }>();
  for (const port of alreadyMaterialized) {
    const path = localPath(port.uri);
    if (path !== undefined && (await isWhole(path, port.byteCount)))
      earlier.set(globalPortId(portKeyFromWire(port.key)), { path, rows: port.rowCount });
  }
  const written = new Map<string, PortResult>();
  return {
    isThere: (port) => earlier.has(globalPortId(port)) || written.has(globalPortId(port)),
    pathOf: (port) => earlier.get(globalPortId(port))?.path ?? store.pathOf(portFileName(port)),
    rowsOf: (port) => earlier.get(globalPortId(port))?.rows ?? written.get(globalPortId(port))?.rowCount,
    add(port, { uri, rowCount, byteCount }) {
      const result: PortResult = {
        key: portKeyToWire(port.key),
        globalPortId: globalPortId(port.key),
        uri,
        rowCount,
        byteCount,
        schema: schemaToWire(port.schema),
        subdagHash: port.subdagHash,
        registeredAt: undefined,
        viewed: port.viewed,
      };
      written.set(globalPortId(port.key), result);
      return result;
    },
    written: () => [...written.values()],
    readablePaths: () => [...earlier.values()].map(({ path }) => path),
  };
}

async function isWhole(path: string, byteCount: bigint): Promise<boolean> {
  try {
    await access(path, constants.R_OK);
    return BigInt((await stat(path)).size) === byteCount;
  } catch {
    return false; // gone or out of reach: it is computed again
  }
}
