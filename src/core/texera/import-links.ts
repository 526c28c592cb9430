// Links of an imported plan. An input port of Texera may take many links, one of ours takes one: where several end, a
// union is put between, or several when one would have too many inputs.
import type { LogicalLink, LogicalOperator } from "../plan.js";

/** An output port of the imported plan. */
export interface Source {
  from: string;
  fromPort: number;
}

export interface Linker {
  links: LogicalLink[];
  /** The unions that were put between. */
  unions: LogicalOperator[];
  /** One link to each of the ports, whatever the number of sources; `nearby` gives ids for unions. */
  feed(sources: readonly Source[], readers: readonly { to: string; toPort: number }[], nearby: () => string): void;
  /** The sources to the ports of one union, which has `gatheredPorts` of them. */
  gather(sources: readonly Source[], to: string, nearby: () => string): void;
}

/** As many inputs as our union takes. */
const MOST_INPUTS = 16;

/** The number of input ports a union of so many sources has. */
export const gatheredPorts = (sources: number): number => Math.min(sources, MOST_INPUTS);

export function linker(): Linker {
  const links: LogicalLink[] = [];
  const unions: LogicalOperator[] = [];
  const gather: Linker["gather"] = (sources, to, nearby) => {
    const ports = gatheredPorts(sources.length);
    for (let port = 0; port < ports; port++) {
      const share = sources.slice(
        Math.floor((port * sources.length) / ports),
        Math.floor(((port + 1) * sources.length) / ports),
      );
      links.push({ ...single(share, nearby), to, toPort: port });
    }
  };
  const single = (sources: readonly Source[], nearby: () => string): Source => {
    if (sources.length === 1) return sources[0]!;
    const id = nearby();
    unions.push({
      id,
      type: "union",
      properties: { inputs: gatheredPorts(sources.length) },
      displayName: "",
      disabled: false,
      viewResult: false,
    });
    gather(sources, id, nearby);
    return { from: id, fromPort: 0 };
  };
  return {
    links,
    unions,
    gather,
    feed(sources, readers, nearby) {
      if (sources.length === 0) return;
      const source = single(sources, nearby);
      for (const reader of readers) links.push({ ...source, ...reader });
    },
  };
}
