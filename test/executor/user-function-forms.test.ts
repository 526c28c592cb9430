// Every way a user function can be called, in both languages.
import { expect } from "chai";
import type { FunctionCall, Language } from "../../src/core/plan.js";
import type { UserCodeHost } from "../../src/executor/user-code/host.js";
import { type FunctionTry, pandas, pandasHost, tried } from "../support/function-runs.js";
import { thisHost } from "../support/plan-runs.js";

const numbers = (count: number) => ({ schema: "n:integer", sql: `select i::integer as n from range(${count}) r(i)` });
const NAMES = { schema: "name:string", sql: "select * from (values ('Ann'), ('Bob'), ('Cid'))" };

interface Forms {
  language: Language;
  entry: Record<FunctionCall, string>;
  source: string;
  sourceOfFrames: string;
  batch: string;
  batchOfNumbers: string;
  table: string;
  twoTuples: string;
  twoTables: string;
  twoOutputs: string;
  noSuchOutput: string;
  lifecycle: string;
  ends: string;
  batchFails: string;
  tableFails: string;
}

const JAVASCRIPT: Forms = {
  language: "javascript",
  entry: { tuple: "processTuple", batch: "processBatch", table: "processTable", source: "produce" },
  source: "function* produce() { for (let n = 0; n < 20000; n++) yield { n }; }",
  sourceOfFrames: "function produce() { return [{ n: 1 }, { n: 2 }]; }",
  batch: "const BATCH_SIZE = 4; function processBatch(rows) { return { n: rows.length }; }",
  batchOfNumbers:
    "function processBatch(rows) { return { n: rows.reduce((sum, r) => sum + r.n, 0) / rows.length | 0 }; }",
  table: "function processTable(rows) { return rows.map((r) => ({ ...r, of: rows.length })); }",
  twoTuples:
    "const seen = []; function processTuple(t, port) { if (port === 0) seen.push(t.name); else return { n: t.n, who: seen[t.n] ?? null }; }",
  twoTables:
    "let names; function processTable(rows, port) { if (port === 0) names = rows; else return rows.map((r) => ({ n: r.n, who: names[r.n]?.name ?? null })); }",
  twoOutputs:
    "function processTuple(t) { return t.n % 2 ? toOutput(1, { odd: t.n }) : [{ n: t.n }, toOutput(1, [{ odd: -t.n }])]; }",
  noSuchOutput: "function processTuple(t) { return toOutput(2, t); }",
  lifecycle:
    "let sum = 0; function open() { console.log('open'); } function close() { console.log('close'); } function processTuple(t) { sum += t.n; } function onFinish(port) { return { n: sum, port }; }",
  ends: "function processTable() {} function onFinish(port) { return { n: 7, port }; }",
  batchFails: "const BATCH_SIZE = 4; function processBatch(rows) { if (rows[0].n === 4) throw new Error('no'); }",
  tableFails: "function processTable(rows) {\n  throw new Error(`of ${rows.length}`);\n}",
};

const PYTHON: Forms = {
  language: "python",
  entry: { tuple: "process_tuple", batch: "process_batch", table: "process_table", source: "produce" },
  source: "def produce():\n    for n in range(20000):\n        yield {'n': n}\n",
  sourceOfFrames: "import pandas\ndef produce():\n    yield pandas.DataFrame({'n': [1]})\n    yield [{'n': 2}]\n",
  batch: "BATCH_SIZE = 4\ndef process_batch(frame):\n    return {'n': len(frame)}\n",
  batchOfNumbers: "def process_batch(frame):\n    return {'n': int(frame['n'].mean())}\n",
  table: "def process_table(frame):\n    frame['of'] = len(frame)\n    return frame\n",
  twoTuples:
    "seen = []\ndef process_tuple(t, port):\n    if port == 0:\n        seen.append(t['name'])\n    else:\n        return {'n': t['n'], 'who': seen[t['n']] if t['n'] < 3 else None}\n",
  twoTables:
    "names = None\ndef process_table(frame, port):\n    global names\n    if port == 0:\n        names = frame\n    else:\n        frame['who'] = names['name'].reindex(frame['n']).to_numpy()\n        yield frame\n",
  twoOutputs:
    "def process_tuple(t):\n    if t['n'] % 2:\n        return to_output(1, {'odd': t['n']})\n    return [{'n': t['n']}, to_output(1, [{'odd': -t['n']}])]\n",
  noSuchOutput: "def process_tuple(t):\n    return to_output(2, t)\n",
  lifecycle:
    "total = 0\ndef open():\n    print('open')\ndef close():\n    print('close')\ndef process_tuple(t):\n    global total\n    total += t['n']\ndef on_finish(port):\n    return {'n': total, 'port': port}\n",
  ends: "def process_table(frame):\n    pass\ndef on_finish(port):\n    return {'n': 7, 'port': port}\n",
  batchFails: "BATCH_SIZE = 4\ndef process_batch(frame):\n    if frame['n'][0] == 4: raise ValueError('no')\n",
  tableFails: "def process_table(frame):\n    raise ValueError('of %d' % len(frame))\n",
};

for (const { language, entry, ...code } of [JAVASCRIPT, PYTHON]) {
  const isPending = language === "python" && pandas.isMissing;
  describe(`calls of ${language} functions${isPending ? pandas.note : ""}`, () => {
    let host: UserCodeHost;
    before(async function () {
      this.timeout(30_000);
      if (isPending) this.skip();
      host = await (language === "python" ? pandasHost() : thisHost());
    });

    const call = (kind: FunctionCall, source: string, more: Omit<FunctionTry, "language" | "code" | "entryPoint">) =>
      tried({ language, code: source, entryPoint: entry[kind], call: kind, host, ...more });

    it("a source makes rows, as many as it likes", async () => {
      const { rows, counts } = await call("source", code.source, { inputs: [], outputs: ["n:long"] });
      expect(counts?.outputRows).to.deep.equal([20_000n]);
      expect(rows[0]?.map(([n]) => Number(n))).to.deep.equal(Array.from({ length: 20_000 }, (_, n) => n));
      const listed = await call("source", code.sourceOfFrames, { inputs: [], outputs: ["n:long"] });
      expect(listed.rows[0]).to.deep.equal([[1n], [2n]]);
    });

    it("batches have as many rows as the code says, whatever the rows came in, and the last may have fewer", async () => {
      const { rows } = await call("batch", code.batch, { inputs: [numbers(10)], outputs: ["n:integer"] });
      expect(rows[0]).to.deep.equal([[4], [4], [2]]);
      const many = await call("batch", code.batch, { inputs: [numbers(5_001)], outputs: ["n:integer"] });
      expect(many.rows[0]).to.deep.equal([...Array(1_250).fill([4]), [1]]);
    });

    it("batches have ten thousand rows when the code does not say", async () => {
      const { rows } = await call("batch", code.batchOfNumbers, { inputs: [numbers(25_000)], outputs: ["n:integer"] });
      expect(rows[0]).to.deep.equal([[4_999], [14_999], [22_499]]);
    });

    it("a table is all rows of an input", async () => {
      const { rows } = await call("table", code.table, { inputs: [numbers(3_000)], outputs: ["n:integer of:long"] });
      expect(rows[0]).to.have.length(3_000);
      expect(rows[0]?.at(-1)).to.deep.equal([2_999, 3_000n]);
      const none = await call("table", code.table, { inputs: [numbers(0)], outputs: ["n:integer of:long"] });
      expect(none.failure?.message).to.equal(undefined);
      expect(none.rows[0]).to.deep.equal([]);
    });

    it("two inputs come one after the other, each row with its port", async () => {
      for (const [kind, source] of [
        ["tuple", code.twoTuples],
        ["table", code.twoTables],
      ] as const) {
        const { rows, counts, failure } = await call(kind, source, {
          inputs: [NAMES, numbers(4)],
          outputs: ["n:integer who:string"],
        });
        expect(failure?.message).to.equal(undefined);
        expect(rows[0]).to.deep.equal([
          [0, "Ann"],
          [1, "Bob"],
          [2, "Cid"],
          [3, null],
        ]);
        expect(counts?.inputRows).to.deep.equal([3n, 4n]);
      }
    });

    it("several outputs are told apart by number, and one that is not there is refused", async () => {
      const outputs = ["n:integer", "odd:integer"];
      const { rows, counts } = await call("tuple", code.twoOutputs, { inputs: [numbers(4)], outputs });
      expect(rows).to.deep.equal([
        [[0], [2]],
        [[-0 + 0], [1], [-2], [3]],
      ]);
      expect(counts?.outputRows).to.deep.equal([2n, 4n]);
      const { failure } = await call("tuple", code.noSuchOutput, { inputs: [numbers(4)], outputs });
      expect(failure?.message).to.match(
        /at input row 1: .* gave a row to output 2; the operator has outputs 0 to 1\.$/,
      );
    });

    it("are preceded by open, and followed by an end of each input and by close", async () => {
      const { rows, lines } = await call("tuple", code.lifecycle, {
        inputs: [numbers(5)],
        outputs: ["n:integer port:integer"],
      });
      expect(rows[0]).to.deep.equal([[10, 0]]);
      expect(lines).to.deep.equal(["open", "close"]);
      const ended = await call("table", code.ends, { inputs: [numbers(5)], outputs: ["n:integer port:integer"] });
      expect(ended.rows[0]).to.deep.equal([[7, 0]]);
    });

    it("that fail over several rows show the code's own trace", async () => {
      const table = await call("table", code.tableFails, { inputs: [numbers(5)], outputs: ["n:integer"] });
      expect(table.failure?.message).to.match(/^The function of operator f failed: \w*Error: of 5$/);
      expect(table.failure?.detail).to.match(/user[-_]code\.(js:2|py", line 2)/);
      const batch = await call("batch", code.batchFails, { inputs: [numbers(10)], outputs: ["n:integer"] });
      expect(batch.failure?.message).to.match(/failed: \w*Error: no$/);
      if (language === "python") expect(batch.failure?.detail).to.include("In the call with rows 5 to 8.");
    });

    it("are ended when they give more rows or bytes than they may", async () => {
      for (const [limits, sentence] of [
        [{ rows: 1_000n, bytes: 1n << 30n }, /gave more than 1000 rows, and was stopped/],
        [{ rows: 1n << 30n, bytes: 65_536n }, /gave more than 0 MB, and was stopped/],
      ] as const) {
        const what = { inputs: [], outputs: ["n:long"], deps: { limits } };
        const { failure } = await call("source", code.source, what);
        expect(failure?.message).to.match(sentence);
      }
    });
  });
}
