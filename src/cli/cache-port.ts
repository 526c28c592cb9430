// Ports in words: the cache names them by their global port ids.
import { globalPortId, parseGlobalPortId } from "../core/plan.js";
import { portName, portSelector } from "./outputs.js";

/** A global port id as people write it. */
export function globalPortName(id: string): string {
  const key = parseGlobalPortId(id);
  return key ? portName(key) : id;
}

/** The global port id that "operator", "operator:1" or a global port id means. */
export function globalPortIdOf(text: string): string {
  const { by } = portSelector(text);
  if (by?.$case !== "logicalPort") return text;
  return globalPortId({ ...by.value, layer: "main", internal: false, input: false });
}
