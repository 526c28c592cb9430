// A child that lies: whatever it sends, the run ends with one sentence, and nothing else is harmed.
import { expect } from "chai";
import fc from "fast-check";
import { pythonCommand } from "../../src/executor/user-code/child-command.js";
import {
  ENCODING,
  emptyFrame,
  HEAD_BYTES,
  ORIGINS,
  padded,
  REPLY,
} from "../../src/executor/user-code/column-frames.js";
import { outputChunks, UnreadableReply, WrongValue } from "../../src/executor/user-code/output-chunks.js";
import { readReply } from "../../src/executor/user-code/reply-frame.js";
import { findProgram, type Sandbox } from "../../src/executor/user-code/sandbox.js";
import { startProcess } from "../../src/executor/user-code/started-child.js";
import { type FunctionTry, PYTHON, tried } from "../support/function-runs.js";
import { columns } from "../support/physical-plans.js";
import { scratch, thisHost } from "../support/plan-runs.js";

const SCHEMA = columns("t:string n:long");

interface Lie {
  port?: number;
  columns?: number;
  rows?: number;
  origins?: number;
  first?: number;
  text?: { encoding?: number; bytes?: number; hasNulls?: number; input?: number };
  lengths?: [number, number];
  letters?: Uint8Array;
  cut?: number;
}

/** A reply of two rows, right but for what is told otherwise. */
function reply(lie: Lie = {}): Uint8Array<ArrayBuffer> {
  const letters = lie.letters ?? Buffer.from("abcdé");
  const text = Buffer.concat([new Uint8Array(Uint32Array.from(lie.lengths ?? [2, 4]).buffer), letters]);
  const size = HEAD_BYTES * 3 + padded(text.length) + 16;
  const { body } = emptyFrame(size);
  const view = new DataView(body.buffer, body.byteOffset);
  body[0] = REPLY.rows;
  body[1] = lie.port ?? 0;
  view.setUint16(2, lie.columns ?? 2, true);
  view.setUint32(4, lie.rows ?? 2, true);
  view.setUint32(8, lie.origins ?? ORIGINS.none, true);
  view.setUint32(12, lie.first ?? 0, true);
  body[HEAD_BYTES] = lie.text?.encoding ?? ENCODING.bytes;
  body[HEAD_BYTES + 1] = lie.text?.hasNulls ?? 0;
  view.setUint32(HEAD_BYTES + 4, lie.text?.bytes ?? text.length, true);
  view.setUint32(HEAD_BYTES + 8, lie.text?.input ?? 0, true);
  body.set(text, 2 * HEAD_BYTES);
  const at = 2 * HEAD_BYTES + padded(text.length);
  body[at] = ENCODING.int64;
  view.setUint32(at + 4, 16, true);
  return body.slice(0, lie.cut ?? size);
}

const expected = { outputs: [SCHEMA], batch: undefined };
/** "refused", or the rows it gives. */
function outcome(body: Uint8Array<ArrayBuffer>): unknown {
  const read = readReply(body, expected);
  if (read === undefined) return "refused";
  if (read.kind !== "rows") return read.kind;
  try {
    return [...outputChunks(read.rows, SCHEMA, undefined)].flatMap((chunk) => chunk.getRows());
  } catch (error) {
    if (error instanceof UnreadableReply) return "refused";
    if (error instanceof WrongValue) return error.message;
    throw error;
  }
}

describe("a reply", () => {
  it("is read when every length fits", () => {
    expect(outcome(reply())).to.deep.equal([
      ["ab", 0n],
      ["cdé", 0n],
    ]);
  });

  const lies: Record<string, Lie> = {
    "for a port that is not there": { port: 1 },
    "with too few columns": { columns: 1 },
    "with more rows than its columns have": { rows: 3 },
    "with more rows than any reply": { rows: 4_000_000_000 },
    "from rows nobody gave": { origins: ORIGINS.consecutive },
    "from a list of rows that is not there": { origins: ORIGINS.listed },
    "with origins of no known form": { origins: 9 },
    "with a column of another type": { text: { encoding: ENCODING.int64 } },
    "in an encoding that does not exist": { text: { encoding: 77 } },
    "in the encoding of the other direction": { text: { encoding: ENCODING.joined } },
    "with a column kept from nothing": { text: { encoding: ENCODING.kept } },
    "with a column that goes beyond its end": { text: { bytes: 4_000_000_000 } },
    "with a column shorter than its lengths": { text: { bytes: 7 } },
    "with cells that are no JSON": { text: { encoding: ENCODING.cells } },
    "with lengths beyond the text": { lengths: [2, 40] },
    "with lengths that leave text over": { lengths: [1, 1] },
    "with a length that cuts a character": { lengths: [5, 1] },
    "with text that is not UTF-8": { letters: Buffer.from([0x61, 0xff, 0x62, 0x62, 0x62, 0x62]) },
    "cut short": { cut: 40 },
    "without any row": { rows: 0 },
    "of a head alone": { cut: HEAD_BYTES },
    "of nothing": { cut: 0 },
  };
  for (const [what, lie] of Object.entries(lies))
    it(`${what} is refused`, () => {
      expect(outcome(reply(lie))).to.equal("refused");
    });

  it("in words is refused when it has more values than rows, before it is taken apart", () => {
    const said = (words: string) => {
      const letters = Buffer.from(words);
      const body = new Uint8Array(new ArrayBuffer(HEAD_BYTES * 2 + padded(letters.length)));
      const view = new DataView(body.buffer);
      body[0] = REPLY.rows;
      view.setUint16(2, 1, true);
      view.setUint32(4, 2, true);
      view.setUint32(8, ORIGINS.none, true);
      body[HEAD_BYTES] = ENCODING.cells;
      view.setUint32(HEAD_BYTES + 4, letters.length, true);
      body.set(letters, 2 * HEAD_BYTES);
      return readReply(body, { outputs: [columns("b:binary")], batch: undefined })?.kind ?? "refused";
    };
    expect(said('[{"$bytes":"00"},{"$other":"{[,\\"[,"}]')).to.equal("rows");
    const many = 5_000_000;
    for (const words of [`[${"{},".repeat(many)}{}]`, `${"[".repeat(many)}${"]".repeat(many)}`, '[{"a":1,"b":2},0]'])
      expect(said(words)).to.equal("refused");
  });

  it("that is an error without measure is told without its words", () => {
    const text = Buffer.from(`{"kind":"memory","message":[${"{},".repeat(1_000_000)}0]}`);
    const body = new Uint8Array(new ArrayBuffer(HEAD_BYTES + text.length));
    body[0] = REPLY.error;
    body.set(text, HEAD_BYTES);
    const read = readReply(body, expected);
    expect(read).to.deep.include({ kind: "error" });
    expect(read?.kind === "error" && read.error.message).to.equal("an error without a message");
  });

  it("with any bytes changed is refused, or read within its bounds", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }), (changes) => {
        const body = reply();
        for (const [at, byte] of changes) if (at < body.length) body[at] = byte;
        outcome(body);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe(`a child that writes to its pipe itself${PYTHON ? "" : " (pending: this machine has no python3)"}`, () => {
  before(function () {
    if (!PYTHON) this.skip();
  });
  const writes = (bytes: string, then = "os._exit(0)") =>
    tried({
      language: "python",
      code: `import os\ndef process_tuple(t):\n    os.write(3, ${bytes})\n    ${then}\n`,
      entryPoint: "process_tuple",
      inputs: [{ schema: "n:integer", sql: "select 1::integer" }],
      outputs: ["n:integer"],
    });

  it("is told of in a sentence, whatever it wrote", async () => {
    const attempts = {
      "b'\\x05\\x00\\x00\\x00[1,2]'": /sent something unreadable/,
      "b'\\x10\\x00\\x00\\x00' + bytes([1, 9]) + bytes(14)": /sent something unreadable/,
      "b'\\xff\\xff\\xff\\xff'": /sent more at once than it may/,
      "b'\\x20\\x00\\x00\\x00abc'": /ended with exit code 0/,
      "b'\\x10\\x00\\x00\\x00' + bytes([3]) + bytes(15)": /an error without a message/,
    };
    for (const [bytes, sentence] of Object.entries(attempts)) {
      const { failure } = await writes(bytes);
      expect(failure?.reason, bytes).to.equal("USER_CODE_ERROR");
      expect(failure?.message, bytes).to.match(sentence);
    }
  });

  it("cannot claim to be done early and go on", async () => {
    const { failure } = await writes("b'\\x10\\x00\\x00\\x00' + bytes([2]) + bytes(15)", "return {'n': 1}");
    expect(failure?.message).to.match(/sent something unreadable/);
  });

  it("cannot keep its run waiting by what holds its pipes open, out of sight on a host without namespaces", async function () {
    if (process.platform !== "linux") this.skip();
    const wrap: Sandbox["wrap"] = ({ command }) => command;
    const sandbox: Sandbox = { layers: [], isolated: false, privateFiles: false, user: undefined, wrap };
    const limits = { memoryBytes: 2 ** 40, processes: 1_000, cpus: 100, cpuBurstMs: 1e9 };
    const place = scratch();
    const command = pythonCommand({ executable: findProgram("python3", process.env.PATH)!, prefixes: [] }, 2 ** 28);
    const start = () => startProcess({ sandbox, directory: place.directory, limits }, command);
    const hides = `import os, time
def process_tuple(t):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(60)
        os._exit(0)
    os.wait()
`;
    const what = {
      language: "python",
      entryPoint: "process_tuple",
      outputs: ["n:integer"],
      host: { ...(await thisHost()), start },
    };
    const inputs = [{ schema: "n:integer", sql: "select 1::integer" }];
    const returns = await tried({ ...what, inputs, code: `${hides}    return t\n` } as FunctionTry);
    expect(returns.failure).to.equal(undefined);
    expect(returns.rows).to.deep.equal([[[1]]]);
    const ends = await tried({ ...what, inputs, code: `${hides}    os._exit(5)\n` } as FunctionTry);
    expect(ends.failure?.message).to.match(/ended with exit code 5/);
    for (const line of [...returns.lines, ...ends.lines]) process.kill(Number(line), "SIGKILL");
    place.remove();
  }).timeout(40_000);
});
