// Results: the ports of an execution, and the rows of one of them.
import type { Command } from "commander";
import { PortKey, Schema } from "../contract/postern/v1/plan.js";
import {
  ConsoleResult,
  PortResult,
  type PortSelector,
  type ReadPortResponse,
} from "../contract/postern/v1/port_registry.js";
import { invalid } from "../core/app-error.js";
import { parseGlobalPortId } from "../core/plan.js";
import type { Api } from "./api.js";
import { type Cli, examples, executionArgument, several, wholeNumber, withServer } from "./command.js";
import { findExecution } from "./execution-reference.js";
import { print, printEither, printJson, printTable } from "./output.js";
import { renderRecords } from "./records.js";
import { columnsText, resultObjects, resultRecords, resultTable, rowsShown } from "./result-table.js";
import { isTooWide, renderTable } from "./table.js";
import type { Terminal } from "./terminal.js";
import { bytes, count, paintFor } from "./text.js";

export function addOutputCommands(program: Command, cli: Cli): void {
  const { terminal } = cli;
  program
    .command("outputs")
    .description("list the results of an execution: rows, size, columns, location")
    .addArgument(executionArgument())
    .addHelpText("after", examples("postern outputs flights-delays", "postern outputs flights-delays --json"))
    .action(
      withServer<object, [string]>(cli, async (api, options, reference) => {
        const { id } = await findExecution(api, reference);
        const { ports, consoles } = await api.call(api.ports, "listPorts", { executionId: id });
        printEither(
          terminal,
          options,
          () => ({
            executionId: id,
            ports: ports.map(PortResult.toJSON),
            consoles: consoles.map(ConsoleResult.toJSON),
          }),
          () =>
            ports.length === 0
              ? `Execution ${id} has stored no results.`
              : {
                  head: ["PORT", "VIEWED", "ROWS", "SIZE", "COLUMNS", "LOCATION"],
                  right: [false, false, true, true],
                  rows: ports.map((port) => [
                    portName(port.key),
                    port.viewed ? "yes" : "no",
                    count(port.rowCount),
                    bytes(port.byteCount),
                    columnsText(port.schema),
                    port.uri,
                  ]),
                },
        );
        if (!options.json && consoles.length > 0)
          printTable(terminal, {
            head: ["CONSOLE", "LINES", "SIZE", "LOCATION"],
            right: [false, true, true],
            rows: consoles.map((c) => [c.operatorId, count(c.lineCount), bytes(c.byteCount), c.uri]),
          });
      }),
    );
  program
    .command("show")
    .description("print rows of one result")
    .addArgument(executionArgument())
    .argument("<port>", "operator id, operator:port, or a global port id")
    .option("--limit <n>", "rows to print", wholeNumber(1, 10_000), 100)
    .option("--offset <n>", "rows to skip", wholeNumber(0), 0)
    .option("--columns <names>", "only these columns, separated by commas", several)
    .option("--where <expression>", "only rows for which this is true, as in a filter", "")
    .option("--records", "a line per column, values whole; by itself where a table would not fit")
    .addHelpText(
      "after",
      examples(
        "postern show flights-delays top --limit 20 --columns state,delay",
        "postern show flights-delays top --where \"delay > 60 AND origin = 'SEA'\"",
        "postern show served-airports all --records --limit 1",
      ),
    )
    .action(
      withServer<ShowOptions, [string, string]>(cli, async (api, options, reference, port) => {
        const { limit, offset, columns = [], where, records, json } = options;
        const { id } = await findExecution(api, reference);
        const window = { offset: BigInt(offset), limit, columns, where };
        const reply = await readPort(api, id, portSelector(port), window);
        if (json) return printJson(terminal, resultDocument(reply));
        print(terminal, resultText(reply, terminal, { offset: window.offset, records: records === true }));
        print(terminal, rowsShown(reply, window));
      }),
    );
}

interface ShowOptions {
  limit: number;
  offset: number;
  columns?: string[];
  where: string;
  records?: boolean;
}

/** A table; or records, when asked for or when the terminal has no room for so many columns. */
function resultText(
  reply: ReadPortResponse,
  { out, env }: Terminal,
  { offset, records }: { offset: bigint; records: boolean },
): string {
  const width = out.isTTY ? (out.columns ?? 80) : Number.POSITIVE_INFINITY;
  const paint = paintFor(out, env);
  const columns = reply.schema?.attributes.length ?? 0;
  if (records || isTooWide(columns, width))
    return renderRecords({ ...resultRecords(reply), firstRow: offset + 1n }, { width, paint });
  return renderTable(resultTable(reply), { width, paint });
}

/** What `--json` prints of a port. */
export const resultDocument = (reply: ReadPortResponse) => ({
  schema: reply.schema ? Schema.toJSON(reply.schema) : {},
  rows: resultObjects(reply),
  totalRows: reply.totalRows.toString(),
});

/** Reads a window of rows, over as many calls as the size limit of one reply makes necessary. */
export async function readPort(
  api: Api,
  executionId: string,
  port: PortSelector,
  window: { offset: bigint; limit: number; columns: string[]; where?: string },
): Promise<ReadPortResponse> {
  const rows: ReadPortResponse["rows"] = [];
  for (;;) {
    const reply = await api.call(api.ports, "readPort", {
      executionId,
      port,
      offset: window.offset + BigInt(rows.length),
      limit: window.limit - rows.length,
      columns: window.columns,
      where: window.where ?? "",
    });
    rows.push(...reply.rows);
    const complete = rows.length >= window.limit || reply.rows.length === 0;
    if (complete || window.offset + BigInt(rows.length) >= reply.totalRows) return { ...reply, rows };
  }
}

/** "operator", "operator:1" or a printed global port id. */
export function portSelector(text: string): PortSelector {
  if (text.startsWith("(")) {
    if (!parseGlobalPortId(text))
      throw invalid(`${text} is no global port id: copy one from \`postern outputs --json\`, in quotes.`);
    return { by: { $case: "globalPortId", value: text } };
  }
  const [, operatorId, portId = "0"] = /^([^:]+)(?::(\d{1,9}))?$/.exec(text) ?? [];
  if (!operatorId) throw invalid(`${JSON.stringify(text)} is no port: write OPERATOR or OPERATOR:PORT.`);
  return { by: { $case: "logicalPort", value: { operatorId, portId: Number(portId) } } };
}

/** A port as people write it: the operator, its layer and number only where they matter. */
export function portName(key: PortKey | undefined): string {
  const { operatorId, layer, portId, internal } = key ?? PortKey.create();
  const inside = layer === "main" && !internal ? "" : ` (${layer}${internal ? ", internal" : ""})`;
  return `${operatorId}${portId === 0 ? "" : `:${portId}`}${inside}`;
}
