import { expect } from "chai";
import type { UserCodeHost } from "../../src/executor/user-code/host.js";
import { expectNoGain, hostilePlace } from "./hostile-runs.js";

/** JavaScript that tries each expression, as `tries` does in Python. */
const tries = (attempts: Record<string, string>, setup = "") => `
const rejected = (promise) => { promise.then(() => {}, () => {}); throw new Error("a promise"); };
${setup}
function processTuple(t) {
  const outcome = {};
  const attempt = (name, what) => {
    try {
      const got = what();
      outcome[name] = got ? "gained: " + String(got).slice(0, 200) : "refused: nothing there";
    } catch (error) {
      outcome[name] = "refused: " + error;
    }
  };
${Object.entries(attempts)
  .map(([name, expression]) => `  attempt(${JSON.stringify(name)}, () => ${expression});`)
  .join("\n")}
  return { v: JSON.stringify(outcome) };
}`;

describe("a hostile JavaScript function", function () {
  this.timeout(60_000);
  const place = hostilePlace();
  let impatient: Promise<UserCodeHost> | undefined;
  const quickly = async (code: string) => {
    impatient ??= place.hostWith({ batchMs: 2_000 });
    return place.run("javascript", code, await impatient);
  };

  it("finds nothing of Node, the host or the network in its world", async () => {
    const names = [
      "process",
      "require",
      "module",
      "Buffer",
      "global",
      "fetch",
      "XMLHttpRequest",
      "WebSocket",
      "Deno",
      "Bun",
    ];
    const more = ["WebAssembly", "setTimeout", "queueMicrotask", "std", "os", "scriptArgs", "print", "load", "Worker"];
    const attempts = Object.fromEntries([
      ...[...names, ...more].map((name) => [name, `typeof ${name} !== "undefined"`]),
      ["the world of the function's maker", "this.constructor.constructor('return process')()"],
      ["the world of a function it was given", "console.log.constructor('return process')()"],
      [
        "the world of an error",
        "(() => { try { null.x } catch (e) { return e.constructor.constructor('return require')() } })()",
      ],
      ["a dynamic import", "rejected(import('fs'))"],
      ["a module of Node", "rejected(import('node:child_process'))"],
      ["evaluation outside", "(0, eval)('typeof process') !== 'undefined'"],
      [
        "the driver's own secrets",
        "Object.getOwnPropertyNames(globalThis).filter((n) => /postern|settings|driver/i.test(n)).length",
      ],
    ]);
    expectNoGain(await place.run("javascript", tries(attempts)));
  });

  it("changes the prototypes and JSON of its own world alone, and the executor reads its rows as before", async () => {
    const run = await place.run(
      "javascript",
      `
      Object.prototype.polluted = "by user code";
      Array.prototype.polluted = "by user code";
      Object.defineProperty(Object.prototype, "done", { get: () => true, configurable: true });
      Array.prototype.push = function () { return 0; };
      Array.prototype.map = () => [];
      String.prototype.includes = () => { throw new Error("no"); };
      JSON.stringify = () => '{"rows":1,"done":true}';
      JSON.parse = () => ({ polluted: true });
      Symbol.iterator.toString = () => { throw new Error("no"); };
      function processTuple(t) {
        return { v: "x", __proto__: { polluted: 1 }, constructor: { prototype: { polluted: 1 } } };
      }`,
    );
    expect(run.state).to.be.oneOf(["COMPLETED", "FAILED"]);
    expect(({} as Record<string, unknown>).polluted).to.equal(undefined);
    expect(([] as unknown as Record<string, unknown>).polluted).to.equal(undefined);
    expect(JSON.parse('{"a":1}')).to.deep.equal({ a: 1 });
  });

  it("returns keys that mean something to the executor, as keys and nothing more", async () => {
    const run = await place.run(
      "javascript",
      `function processTuple(t) { return JSON.parse('{"v": "kept", "__proto__": {"polluted": 1}, "constructor": 1, "toString": 1}'); }`,
    );
    expect([run.message, run.value]).to.deep.equal(["", "kept"]);
    expect(({} as Record<string, unknown>).polluted).to.equal(undefined);
  });

  const tricks: [string, string][] = [
    ["a toString that throws", "return { v: { toString() { throw new Error('boo'); } } };"],
    ["a toString that never returns", "throw { toString() { for (;;); } };"],
    ["a getter that never returns", "return { get v() { for (;;); } };"],
    ["an iterator that never ends", "return { [Symbol.iterator]: () => ({ next: () => ({ done: false }) }) };"],
    [
      "a proxy that lies",
      "return new Proxy({}, { has: () => true, get: () => new Proxy({}, { get() { throw 1; } }) });",
    ],
    ["an error that is no error", "throw new Proxy(new Error('x'), { get() { throw new Error('y'); } });"],
    ["a string of half a gigabyte", "let s = 'x'; while (true) s += s; return { v: s };"],
    ["arrays without end", "const a = []; while (true) a.push(new Array(1e6).fill(1)); return { v: a };"],
    ["a call that never bottoms out", "const f = () => f() + 1; return { v: f() };"],
    ["a loop without an end", "for (;;);"],
    ["a regular expression that never decides", "return { v: /^(a+)+$/.test('a'.repeat(64) + 'b') };"],
    ["a sort that never agrees", "[...Array(1e5).keys()].sort(() => { for (;;); }); return null;"],
  ];
  for (const [what, body] of tricks)
    it(`tries ${what}, and fails alone`, async () => {
      const run = await quickly(`function processTuple(t) { ${body} }`);
      expect([run.state, run.reason], run.message).to.deep.equal(["FAILED", "USER_CODE_ERROR"]);
    });

  it("prints without end: the run fails in time, and what people get stays short", async () => {
    const run = await quickly("function processTuple(t) { for (;;) console.log('x'.repeat(1000)); }");
    expect([run.state, run.reason]).to.deep.equal(["FAILED", "USER_CODE_ERROR"]);
    expect(run.everything.length).to.be.below(4 * 1024 * 1024);
  });
});
