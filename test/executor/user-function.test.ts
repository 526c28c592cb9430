import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { ConsoleMessage_Level } from "../../src/contract/postern/v1/execution.js";
import type { Language, Schema } from "../../src/core/plan.js";
import { findUserCodeHost, type UserCodeHost } from "../../src/executor/user-code/host.js";
import { PYTHON } from "../support/function-runs.js";
import { columns, planOf, scan, userFunction } from "../support/physical-plans.js";
import { ran, rowsOf, scratch, THIS_HOST, thisHost } from "../support/plan-runs.js";

const TYPES = columns("s:string i:integer l:long d:double b:boolean t:timestamp x:binary a:any");
const EVERY_TYPE = `s,i,l,d,b,t,x,a
héllo,7,9007199254740993,0.5,true,2026-01-31T12:00:00.123456,\\x00\\xff,"{""k"":[1,2]}"
,,,,,,,
-,-1,-5,NaN,false,1969-12-31T23:59:59.5,ab,"""text"""
`;
const PEOPLE = columns("name:string age:integer");
const PEOPLE_CSV = "name,age\nAnn,30\nBob,41\nCid,52\n";

interface Case {
  language: Language;
  /** The same program in this language. */
  identity: string;
  code: Record<
    | "greet"
    | "explode"
    | "typo"
    | "wrongType"
    | "forever"
    | "noisy"
    | "syntax"
    | "none"
    | "noRow"
    | "repeat"
    | "memory",
    string
  >;
  trace: RegExp;
}

const JAVASCRIPT: Case = {
  language: "javascript",
  identity: "function processTuple(t) { return t; }",
  code: {
    greet: "const processTuple = (t) => t.age < 40 ? null : [{ greeting: `Hi ${t.name}` }, { greeting: 'Bye' }];",
    explode:
      "// a comment\nfunction check(age) {\n  if (age > 50) throw new RangeError('too old');\n}\nfunction processTuple(t) {\n  check(t.age);\n  return { greeting: t.name };\n}",
    typo: "function processTuple(t) { return { greting: t.name }; }",
    wrongType: "function processTuple(t) { return { greeting: t.age > 40 ? t.age : t.name }; }",
    forever: "function processTuple(t) { for (;;) {} }",
    noisy:
      "function processTuple(t) { console.log('hello', t.name, { age: t.age }); console.error('careful'); return { greeting: t.name }; }",
    syntax: "function processTuple(t) {\n  return {{ ;\n}",
    none: "function other(t) { return null; }",
    noRow: "function processTuple(t) { return 5; }",
    repeat: "function* processTuple(t) { for (let i = 0; i < 10000; i++) yield { greeting: t.name + i }; }",
    memory: "const kept = []; function processTuple(t) { for (;;) kept.push('x'.repeat(100000) + kept.length); }",
  },
  trace: /RangeError: too old\n\s+at check \(user-code\.js:3.*\n\s+at processTuple \(user-code\.js:6/,
};

const PYTHON_CASE: Case = {
  language: "python",
  identity: "def process_tuple(t):\n    return t\n",
  code: {
    greet:
      "def process_tuple(t):\n    return None if t['age'] < 40 else [{'greeting': 'Hi ' + t['name']}, {'greeting': 'Bye'}]\n",
    explode:
      "# a comment\ndef check(age):\n    if age > 50: raise ValueError('too old')\n\n\ndef process_tuple(t):\n    check(t['age'])\n    return {'greeting': t['name']}\n",
    typo: "def process_tuple(t):\n    return {'greting': t['name']}\n",
    wrongType: "def process_tuple(t):\n    return {'greeting': t['age'] if t['age'] > 40 else t['name']}\n",
    forever:
      "def process_tuple(t):\n    while True:\n        try:\n            while True: pass\n        except Exception: pass\n",
    noisy:
      "import sys\ndef process_tuple(t):\n    print('hello', t['name'])\n    print('careful', file=sys.stderr)\n    return {'greeting': t['name']}\n",
    syntax: "def process_tuple(t):\n  return {{ ;\n",
    none: "def other(t):\n    return None\n",
    noRow: "def process_tuple(t):\n    return 5\n",
    repeat: "def process_tuple(t):\n    for i in range(10000):\n        yield {'greeting': t['name'] + str(i)}\n",
    memory: "kept = []\ndef process_tuple(t):\n    while True: kept.append('x' * 100000 + str(len(kept)))\n",
  },
  trace:
    /File "user_code.py", line 7, in process_tuple\n\s+check\(t\['age'\]\)\n[\s\S]*line 3, in check\n[\s\S]*ValueError: too old/,
};

for (const { language, identity, code, trace } of [JAVASCRIPT, PYTHON_CASE]) {
  const missing = language === "python" && !PYTHON ? " (pending: this machine has no python3)" : "";
  describe(`a ${language} function${missing}`, () => {
    let place: ReturnType<typeof scratch>;
    let options: { resultPrefix: string; workDirectory: string; host: UserCodeHost };
    before(async function () {
      this.timeout(20_000);
      if (missing) this.skip();
      await thisHost();
    });
    beforeEach(async () => {
      place = scratch();
      const resultPrefix = `${pathToFileURL(join(place.directory, "results")).href}/`;
      options = { resultPrefix, workDirectory: place.directory, host: await thisHost() };
    });
    afterEach(() => place.remove());

    function planFor(csv: string, input: Schema, source: string, output: Schema, retain = false) {
      const path = join(place.directory, "in.csv");
      writeFileSync(path, csv);
      const dataset = { uri: pathToFileURL(path).href };
      return planOf(
        [
          scan("in", input, dataset),
          { ...userFunction("f", language, input, source, output, retain), materialized: true },
        ],
        ["in>f"],
      );
    }
    const people = (source: string, retain = false) =>
      planFor(PEOPLE_CSV, PEOPLE, source, [...(retain ? PEOPLE : []), ...columns("greeting:string")], retain);
    const failureOf = async (source: string) => {
      const { manifest, state } = await ran(people(source), options);
      expect(state).to.equal("FAILED");
      expect(manifest.failure).to.include({ reason: "USER_CODE_ERROR", operatorId: "f" });
      return manifest.failure!;
    };

    it("gets and gives every type without loss, nulls and large numbers included", async () => {
      const { manifest, fileOf } = await ran(planFor(EVERY_TYPE, TYPES, identity, TYPES), options);
      expect(manifest.failure).to.equal(undefined);
      const asRead = await rowsOf(fileOf("f"));
      expect(asRead[0]).to.deep.equal(
        ["héllo", 7, "9007199254740993", 0.5, true, "2026-01-31 12:00:00.123456", "\\x00\\xFF", '{"k":[1,2]}'].map(
          (v) => (v === '{"k":[1,2]}' && language === "python" ? '{"k": [1, 2]}' : v),
        ),
      );
      expect(asRead[1]).to.deep.equal(Array(8).fill(null));
      expect(asRead[2]).to.deep.equal(["-", -1, "-5", "NaN", false, "1969-12-31 23:59:59.5", "ab", '"text"']);
    });

    it("gives no row, one or several for each", async () => {
      const { manifest, fileOf } = await ran(people(code.greet), options);
      expect(manifest.failure).to.equal(undefined);
      expect(await rowsOf(fileOf("f"))).to.deep.equal([["Hi Bob"], ["Bye"], ["Hi Cid"], ["Bye"]]);
      expect(manifest.statistics.find((s) => s.operatorId === "f")).to.include({ inputRows: 3n, outputRows: 4n });
    });

    it("keeps the input columns when asked to", async () => {
      const { fileOf } = await ran(people(code.greet, true), options);
      expect((await rowsOf(fileOf("f")))[0]).to.deep.equal(["Bob", 41, "Hi Bob"]);
    });

    it("may give many rows for one, which do not pile up", async () => {
      const { manifest } = await ran(people(code.repeat), options);
      expect(manifest.ports[0]?.rowCount).to.equal(30_000n);
    });

    it("that throws ends the run with its own traceback and the row it was given", async () => {
      const failure = await failureOf(code.explode);
      expect(failure.message).to.match(
        /^The function of operator f failed at input row 3: (RangeError|ValueError): too old$/,
      );
      expect(failure.detail).to.match(trace);
      expect(failure.detail).to.include('Row 3: {"name":"Cid","age":52}');
      expect(failure.detail).not.to.match(/driver|postern|site-packages|node_modules/);
    });

    it("that leaves a declared column out is told which", async () => {
      expect((await failureOf(code.typo)).message).to.include('without the column "greeting"');
    });

    it("that gives a value of the wrong type is told column, row and type", async () => {
      expect((await failureOf(code.wrongType)).message).to.equal(
        'The function of operator f gave column "greeting" a wrong value at input row 2: expected text (string), got the number 41.',
      );
    });

    it("that gives something that is no row is told so", async () => {
      expect((await failureOf(code.noRow)).message).to.match(/gave something that is no row at input row 1/);
    });

    it("that cannot be read, or lacks its entry point, fails before the first row", async () => {
      expect((await failureOf(code.syntax)).message).to.match(/SyntaxError/);
      expect((await failureOf(code.none)).message).to.match(/the code defines no function process_?[tT]uple/);
    });

    it("that never returns is stopped by its time limit", async () => {
      const impatient = { ...options, host: { ...options.host, batchMs: 300 } };
      const { manifest } = await ran(people(code.forever), impatient);
      expect(manifest.failure?.message).to.match(/took too long at input row 1 and was stopped/);
    });

    it("that never returns is stopped by a cancel, with nothing left behind", async () => {
      const stop = new AbortController();
      const running = ran(people(code.forever), { ...options, signal: stop.signal });
      setTimeout(() => stop.abort(), 400);
      expect((await running).state).to.equal("KILLED");
      expect(childrenOfThisProcess()).to.deep.equal([]);
    });

    it("that hoards memory is ended, and the executor lives on", async () => {
      const small = { ...options, host: { ...options.host, memoryBytes: 64 * 1024 * 1024 } };
      const { manifest } = await ran(people(code.memory), small);
      expect(manifest.failure?.reason).to.equal("USER_CODE_ERROR");
      expect(manifest.failure?.message).to.match(/memory/);
    });

    it("may write lines, which are told and stored", async () => {
      const { manifest, events } = await ran(people(code.noisy), options);
      const lines = events.flatMap((e) => (e.$case === "consoleMessage" ? [e.value] : []));
      const output = lines.filter((l) => l.level === ConsoleMessage_Level.LEVEL_OUTPUT).map((l) => l.text);
      expect(output).to.have.length(3);
      expect(output[0]).to.match(/^hello Ann/);
      expect(lines.filter((l) => l.level === ConsoleMessage_Level.LEVEL_ERROR)).to.have.length(3);
      const [file] = manifest.consoles;
      expect(file).to.include({ operatorId: "f", lineCount: BigInt(lines.length) });
      const stored = readFileSync(new URL(file!.uri), "utf8")
        .trim()
        .split("\n")
        .map((l) => JSON.parse(l));
      expect(stored.filter((l) => l.level === "output").map((l) => l.text)).to.deep.equal(output);
    });

    it("that floods the console is cut short on the stream with a note, and loses none in the file", async () => {
      const flood =
        language === "python"
          ? "def process_tuple(t):\n    for i in range(4000): print('line', i, 'x' * 80)\n"
          : "function processTuple(t) { for (let i = 0; i < 4000; i++) console.log('line', i, 'x'.repeat(80)); }";
      const { manifest, events } = await ran(people(flood), options);
      const lines = events.flatMap((e) => (e.$case === "consoleMessage" ? [e.value] : []));
      expect(
        lines
          .filter((l) => l.level === ConsoleMessage_Level.LEVEL_NOTE)
          .map((l) => l.text)
          .join(),
      ).to.match(/lines dropped here/);
      const told = BigInt(lines.filter((l) => l.level === ConsoleMessage_Level.LEVEL_OUTPUT).length);
      expect(told + manifest.dropped!.consoleLines).to.equal(12_000n);
      expect(manifest.consoles[0]?.lineCount).to.equal(12_000n);
    });

    it("leaves no directory of its own behind", async () => {
      const { directory } = place;
      const host = await findUserCodeHost({ ...THIS_HOST, directory });
      await ran(people(code.greet), { ...options, host });
      await host.close();
      expect(readdirSync(directory).filter((name) => name.startsWith("postern-user-code"))).to.deep.equal([]);
    });

    it("reads and gives a hundred thousand rows in batches", async () => {
      const input = columns("n:long");
      const csv = `n\n${Array.from({ length: 100_000 }, (_, i) => i).join("\n")}\n`;
      const { manifest, fileOf } = await ran(planFor(csv, input, identity, input), options);
      expect(manifest.failure).to.equal(undefined);
      expect(await rowsOf(fileOf("f"), "select count(*), sum(n) from ?")).to.deep.equal([["100000", "4999950000"]]);
    }).timeout(20_000);
  });
}

/** Processes of user code that come from this one. */
function childrenOfThisProcess(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const [, parent] = /^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))!;
        return Number(parent) === process.pid && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("/user-code/");
      } catch {
        return false; // it has ended meanwhile
      }
    });
}
