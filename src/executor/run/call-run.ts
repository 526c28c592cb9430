// Runs the user functions of one step, all at the same time: rows stream out of queries, through the functions and into
// tables, so that a few thousand rows between two of them are in this process at a time.
//
// U1  The first failure stops the others; it, not its consequences, is what is thrown.
// U2  A function is busy while it neither waits for rows nor for room to put them.
// U3  A query that has given no row yet is given up when the run is paused, and begun anew afterwards; one that has
//     given rows is not read on.
// U4  What a query gives is counted on its way to a function; what its operators before that give is estimated.
import type { DuckDBAppender, DuckDBDataChunk } from "@duckdb/node-api";
import { globalPortId, type Language, operatorKey, type PhysicalPlan } from "../../core/plan.js";
import { costOf } from "./compute-cost.js";
import type { EngineConnection } from "./duckdb.js";
import { queryFailure, throwIfStopped } from "./failure.js";
import { forgetMalformed, tellMalformed } from "./malformed-rows.js";
import type { QueryShare } from "./query-share.js";
import { noSink, type RowQueue, type RowSink, type RowSource, rowQueue, tableSink } from "./row-stream.js";
import type { StopSignals } from "./run-control.js";
import { type Say, sayer } from "./say.js";
import { createTable } from "./sql-text.js";
import { type CallInput, type CallOutput, type CallStep, type FunctionCalls, operatorIdsOf, tablesOf } from "./step.js";
import type { StepDeps } from "./step-run.js";
import { stopwatch } from "./stopwatch.js";
import { runUserFunction } from "./user-function.js";

/** How often figures are told while nothing else tells them, in milliseconds. */
const FIGURES_EVERY_MS = 250;

export async function runCalls(deps: StepDeps, step: CallStep, signals: StopSignals): Promise<void> {
  const failed = new AbortController();
  const run = new CallsRun(deps, step, {
    stop: AbortSignal.any([signals.stop, failed.signal]),
    kill: AbortSignal.any([signals.kill, failed.signal]),
  });
  await run.toTheEnd(() => failed.abort());
  for (const table of tablesOf(step)) deps.tables.set(table, costOf(step, deps.busyMs(), deps.tables));
}

class CallsRun {
  readonly #deps: StepDeps;
  readonly #step: CallStep;
  readonly #signals: StopSignals;
  /** By global port id. */
  readonly #queues = new Map<string, RowQueue>();
  readonly #sinks = new Map<string, RowSink>();
  readonly #watches: (() => void)[] = [];

  constructor(deps: StepDeps, step: CallStep, signals: StopSignals) {
    this.#deps = deps;
    this.#step = step;
    this.#signals = signals;
  }

  async toTheEnd(fail: () => void): Promise<void> {
    const { control, engine } = this.#deps;
    const writing = engine.take();
    const close = await this.#openSinks(writing).catch((error: unknown) => {
      writing.release();
      throw queryFailure(error, { operatorIds: [this.#step.operator.operatorId] });
    });
    const timer = setInterval(() => {
      if (!control.isPaused()) for (const tell of this.#watches) tell();
    }, FIGURES_EVERY_MS);
    let failure: { error: unknown } | undefined;
    try {
      await control.halting(() =>
        Promise.all(
          this.#step.calls.map((call) =>
            this.#run(call).catch((error: unknown) => {
              failure ??= { error };
              fail();
            }),
          ),
        ),
      );
    } finally {
      clearInterval(timer);
      try {
        close(failure === undefined);
      } catch (error) {
        failure ??= { error: queryFailure(error, { operatorIds: [this.#step.operator.operatorId] }) };
      }
      writing.release();
    }
    if (failure) throw failure.error;
  }

  /** Makes the tables and what writes to them; the reply closes that, with the last rows stored or without. */
  async #openSinks(writing: EngineConnection): Promise<(isWhole: boolean) => void> {
    const appenders: DuckDBAppender[] = [];
    const close = (isWhole: boolean) => {
      let failure: { error: unknown } | undefined;
      for (const appender of appenders)
        try {
          if (isWhole && !failure) appender.flushSync();
        } catch (error) {
          failure = { error };
        } finally {
          appender.closeSync();
        }
      if (failure) throw failure.error;
    };
    try {
      for (const { outputs } of this.#step.calls)
        for (const output of outputs)
          this.#sinks.set(globalPortId(output.port.key), await this.#openSink(output, writing, appenders));
    } catch (error) {
      close(false);
      throw error;
    }
    return close;
  }

  async #openSink(output: CallOutput, writing: EngineConnection, appenders: DuckDBAppender[]): Promise<RowSink> {
    const { schema, key } = output.port;
    const { stop } = this.#signals;
    switch (output.kind) {
      case "stream": {
        const queue = rowQueue(schema, stop);
        this.#queues.set(globalPortId(key), queue);
        return queue.sink;
      }
      case "table": {
        await writing.run(createTable(output.table, schema), { signal: stop });
        const appender = await writing.appender(output.table);
        appenders.push(appender);
        return tableSink(schema, appender);
      }
      case "nothing":
        return noSink(schema);
    }
  }

  async #run(call: FunctionCalls): Promise<void> {
    const { board, elapsed, control, host } = this.#deps;
    const { operator, userFunction } = call;
    const key = operatorKey(operator);
    const say = sayer(this.#deps)(operator.operatorId);
    warnOfOpenSandbox(this.#deps, userFunction.language, say);
    const now = () => elapsed() - control.pausedMs();
    const startedAt = now();
    const waits = stopwatch(now);
    let latest: { inputRows?: bigint; outputRows?: bigint; peakMemoryBytes?: bigint } = {};
    const busyMs = () => Math.max(0, now() - startedAt - waits.ms());
    const tell = () => board.progress([key], { ...latest, busyMs: busyMs() });
    this.#watches.push(tell);
    const inputs = call.inputs.map((input) => waits.source(this.#source(operator.operatorId, input)));
    const outputs = call.outputs.map(({ port }) => waits.sink(this.#sinks.get(globalPortId(port.key))!));
    try {
      const counts = await runUserFunction(
        {
          host,
          stop: this.#signals.stop,
          kill: this.#signals.kill,
          rest: () => control.hold(this.#signals.stop),
          onPause: control.onPause,
          onLine: say,
          onRows(rows) {
            latest = { ...latest, ...rows };
            tell();
          },
        },
        { operator, userFunction, inputs, outputs },
      );
      call.inputs.forEach((input, n) => {
        const [from, ...more] = input.kind === "query" ? input.from : [];
        if (from && more.length === 0) board.counted(from, counts.inputRows[n]!);
      });
      call.outputs.forEach(({ port }, n) => {
        board.counted(port.key, counts.outputRows[n]!);
        this.#queues.get(globalPortId(port.key))?.end();
      });
      latest = { ...latest, peakMemoryBytes: counts.peakMemoryBytes };
      tell();
    } finally {
      board.spent([key], busyMs());
      this.#watches.splice(this.#watches.indexOf(tell), 1);
    }
  }

  #source(operatorId: string, input: CallInput): RowSource {
    if (input.kind === "stream") return this.#queues.get(input.port)!.source;
    const { engine, board, control, elapsed } = this.#deps;
    const { schema, query } = input;
    const { sql, members, skips, fused } = query;
    const isCounted = isOnlyOutput(this.#deps.plan, fused.root);
    const sayOf = sayer(this.#deps);
    const watches = this.#watches;
    return {
      schema,
      async *chunks(signal) {
        const fetching = stopwatch(() => elapsed() - control.pausedMs());
        let opened: { connection: EngineConnection; rows: AsyncIterator<DuckDBDataChunk> } | undefined;
        let share: (() => QueryShare | undefined) | undefined;
        let given = 0;
        const tell = () =>
          board.progress(members, {
            share: share?.(),
            fused,
            busyMs: fetching.ms(),
            outputRows: isCounted ? BigInt(given) : undefined,
            peakMemoryBytes: engine.memoryBytes(),
          });
        watches.push(tell);
        const close = async () => {
          share = undefined;
          await opened?.rows.return?.();
          opened?.connection.release();
          opened = undefined;
        };
        try {
          // U3
          let next = await fetching.during(
            control.restartableHeld(async (halted) => {
              const connection = engine.take();
              const rows = connection.stream(sql, { opening: halted, signal })[Symbol.asyncIterator]();
              opened = { connection, rows };
              share = connection.watch(sql);
              try {
                await forgetMalformed({ connection, skips, signal });
                const first = await rows.next();
                // Rows that came in spite of a pause come from a query that has been interrupted.
                throwIfStopped(halted);
                return first;
              } catch (error) {
                await close();
                throw error;
              }
            }, signal),
          );
          while (!next.done) {
            given += next.value.rowCount;
            yield next.value;
            next = await fetching.during(opened!.rows.next());
          }
          const { connection } = opened!;
          const profile = await connection.profile();
          if (profile) board.profiled(query, profile, BigInt(given));
          await tellMalformed({ board, sayOf }, { connection, skips, signal });
        } catch (error) {
          throw queryFailure(error, { operatorIds: [...operatorIdsOf(members), operatorId] });
        } finally {
          await close();
          board.spent(members, fetching.ms());
          watches.splice(watches.indexOf(tell), 1);
        }
      },
    };
  }
}

/** U4: of an operator with several outputs the rows of one are not those it gives. */
const isOnlyOutput = ({ operators }: PhysicalPlan, id: string | undefined): boolean =>
  operators.some(({ outputs: [first, ...more] }) => first && more.length === 0 && globalPortId(first.key) === id);

function warnOfOpenSandbox({ host }: StepDeps, language: Language, say: Say): void {
  const { isolated, privateFiles } = host.sandbox;
  if (language !== "python" || (isolated && privateFiles)) return;
  const seen = isolated ? "files" : "files, network and processes";
  say("note", `This host cannot hide ${seen} from Python: the function sees what the executor's user sees.`);
}
