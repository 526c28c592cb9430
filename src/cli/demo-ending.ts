// How the demo ends: where the results lie, what the executor could see, what to try next.
import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import type { PortResult } from "../contract/postern/v1/port_registry.js";
import { commandText } from "../dev/child-program.js";
import type { Stack } from "../dev/stack.js";
import { portName } from "./outputs.js";
import { bytes, counted, printable } from "./text.js";

export async function demoEnding({
  stack,
  ports,
  dir,
}: {
  stack: Stack;
  ports: PortResult[];
  dir: string;
}): Promise<string[]> {
  const executor = stack.executors[0]!;
  const postern = commandText();
  const here = relative(process.cwd(), dir);
  const inDir = `--dir ${here.startsWith("..") ? dir : here || "."}`;
  const viewed = ports.find((port) => port.viewed)?.key?.operatorId ?? "OPERATOR";
  return [
    "",
    "Where the results lie (Parquet):",
    ...ports.map(
      (port) => `  ${portName(port.key)}: ${counted(port.rowCount, "row")}, ${bytes(port.byteCount)}, ${port.uri}`,
    ),
    "",
    `The whole environment of the executor (pid ${executor.pid}); no database address, password or signing key in it:`,
    ...(await environmentOf(executor.pid)).map((line) => `  ${printable(line)}`),
    "",
    "What to try next:",
    `  ${postern} dev ${inDir}`,
    "      starts the same three processes and leaves them running; then, in another terminal:",
    `  ${postern} run examples/flights-delays.json ${inDir}`,
    `  ${postern} show flights-delays ${viewed} --limit 5 ${inDir}`,
    `  ${postern} plan --workflow flights-delays ${inDir}`,
    `  ${postern} doctor ${inDir}`,
  ];
}

/** The environment of a process as the system shows it; only Linux does. */
async function environmentOf(pid: number): Promise<string[]> {
  if (process.platform !== "linux") return ["(this system does not show the environment of another process)"];
  const text = await readFile(`/proc/${pid}/environ`, "utf8");
  return text.split("\0").filter(Boolean).sort();
}
