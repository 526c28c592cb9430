// The output ports of one run whose rows are there: left by earlier tries, found in the cache, or written now.
//
// P1  A stored port counts as there once its object was found whole and readable.
// P2  The engine reads what was there when it was opened (`readablePaths`); what comes later is borrowed (object-store.ts).
import type { CachedResult } from "../../contract/postern/v1/cache.js";
import type { PortResult } from "../../contract/postern/v1/port_registry.js";
import { globalPortId, type OutputPort, type PhysicalPlan, type PortKey } from "../../core/plan.js";
import { portKeyFromWire, portKeyToWire, schemaToWire } from "../../rpc/plan-codec.js";
import { isWholeObject } from "./object-check.js";
import { type Borrowed, localPath, type ObjectStore } from "./object-store.js";
import { portFileName, type WrittenPort } from "./result-writer.js";

/** Rows that are stored somewhere. */
export type StoredResult = Pick<CachedResult, "uri" | "tupleCount" | "byteCount" | "computeMs">;

export interface RunPorts {
  isThere(port: PortKey): boolean;
  /** Global ids of the ports that are there now. */
  there(): Set<string>;
  /** Local file of a port, whether it is there already or not. */
  pathOf(port: PortKey): string;
  /** What is known of a port that is there, by global port id. */
  storedOf(id: string): StoredResult | undefined;
  /** Takes a stored result over, to be read instead of computed; false when its object is not there or not whole. */
  takeOver(port: OutputPort, result: StoredResult): Promise<boolean>;
  /** A port was written: by whose right (0 for nobody's), and what it took in milliseconds. */
  add(port: OutputPort, written: WrittenPort, more: { computeMs: bigint; reservation: bigint }): PortResult;
  /** A port was taken over that nobody has registered yet. */
  addReused(port: OutputPort): PortResult;
  /** What this run has written or reused, as it was told. */
  told(): PortResult[];
  /** Objects of earlier tries that are gone or damaged. */
  brokenUris: string[];
  /** Local files that were taken over. Those taken over later are borrowed. */
  readablePaths(): string[];
  /** Gives back what was borrowed. */
  giveBack(): Promise<void>;
}

/** Takes over what earlier tries and the cache left, as far as it is still there, whole and readable. */
export async function openRunPorts(
  plan: PhysicalPlan,
  store: ObjectStore,
  alreadyMaterialized: PortResult[],
): Promise<RunPorts> {
  const there = new Map<string, StoredResult & { path: string }>();
  const told = new Map<string, PortResult>();
  const borrowed: Borrowed[] = [];
  const brokenUris: string[] = [];
  let sealed = false;

  function tell(port: OutputPort, result: StoredResult, more: Pick<PortResult, "reservation" | "reused">): PortResult {
    const { uri, tupleCount, byteCount, computeMs } = result;
    const value: PortResult = {
      key: portKeyToWire(port.key),
      globalPortId: globalPortId(port.key),
      uri,
      rowCount: tupleCount,
      byteCount,
      schema: schemaToWire(port.schema),
      subdagHash: port.subdagHash,
      registeredAt: undefined,
      viewed: port.viewed,
      computeMs,
      ...more,
    };
    told.set(value.globalPortId, value);
    return value;
  }

  const ports: RunPorts = {
    isThere: (port) => there.has(globalPortId(port)),
    there: () => new Set(there.keys()),
    pathOf: (port) => there.get(globalPortId(port))?.path ?? store.pathOf(portFileName(port)),
    storedOf: (id) => there.get(id),
    async takeOver({ key }, { uri, tupleCount, byteCount, computeMs }) {
      const foreign = localPath(uri);
      if (foreign === undefined || !(await isWholeObject(foreign, byteCount))) return false;
      let path = foreign;
      if (sealed) {
        // Gone a moment later, or no room for a copy: it is computed again.
        const copy = await store.borrow(foreign).catch(() => undefined);
        if (!copy) return false;
        borrowed.push(copy);
        path = copy.path;
      }
      there.set(globalPortId(key), { uri, tupleCount, byteCount, computeMs, path });
      return true;
    },
    add(port, { uri, rowCount, byteCount }, { computeMs, reservation }) {
      const result = { uri, tupleCount: rowCount, byteCount, computeMs };
      there.set(globalPortId(port.key), { ...result, path: store.pathOf(portFileName(port.key)) });
      return tell(port, result, { reservation, reused: false });
    },
    addReused: (port) => tell(port, there.get(globalPortId(port.key))!, { reservation: 0n, reused: true }),
    told: () => [...told.values()],
    brokenUris,
    readablePaths() {
      sealed = true;
      return [...there.values()].map(({ path }) => path);
    },
    async giveBack() {
      for (const { giveBack } of borrowed.splice(0)) await giveBack();
    },
  };

  const byId = new Map(plan.operators.flatMap((o) => o.outputs.map((port) => [globalPortId(port.key), port] as const)));
  for (const { key, uri, rowCount, byteCount, computeMs } of alreadyMaterialized) {
    const port = byId.get(globalPortId(portKeyFromWire(key)));
    const result = { uri, tupleCount: rowCount, byteCount, computeMs };
    if (port && !(await ports.takeOver(port, result))) brokenUris.push(uri);
  }
  return ports;
}
