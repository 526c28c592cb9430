import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { AttachRequest, EventBatch, ExecutionState, RunState } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";
import {
  batchFrame,
  type EventKind,
  encodeEvent,
  joinEvents,
  splitEvents,
} from "../../src/executor-session/event-encoding.js";
import { Outbox, type OutboxLimits } from "../../src/executor-session/outbox.js";
import { openSpillFiles, type SpillFiles } from "../../src/executor-session/spill-files.js";
import { readEventBatch } from "../../src/server/executions/event-batch.js";
import { scratch } from "../support/plan-runs.js";

const EVERYTHING = 1_000_000n;
/** Event number `n`, of a size that depends on it. */
const event = (n: number) =>
  encodeEvent({
    attempt: 1,
    sequence: n,
    occurredAt: new Date(0),
    kind: { $case: "consoleMessage", value: { operatorId: "o", worker: n, level: 1, text: "x".repeat((n * 7) % 90) } },
  });
/** Their numbers, and that each says what it said. */
const numbersOf = (batch: Uint8Array[]): number[] =>
  EventBatch.decode(joinEvents(batch)).events.map(({ sequence, kind }) => {
    expect(kind?.$case === "consoleMessage" && kind.value.worker).to.equal(Number(sequence));
    return Number(sequence);
  });
const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i);
const LIMITS: OutboxLimits = { events: 40, bytes: 4_000, batchEvents: 7, batchBytes: 600 };

describe("the encoding of events", () => {
  it("makes the frame a batch of these events would be", () => {
    const kind = { $case: "regionState" as const, value: { regionId: 3, state: RunState.RUN_STATE_RUNNING } };
    const encoded = upTo(300).map((sequence) => encodeEvent({ attempt: 2, sequence, occurredAt: new Date(5), kind }));
    const { frame } = AttachRequest.decode(batchFrame(encoded));
    expect(frame?.$case).to.equal("events");
    const events = frame?.$case === "events" ? frame.value.events : [];
    expect(events.map((e) => e.sequence)).to.deep.equal(upTo(300).map(BigInt));
    expect(events[7]).to.deep.equal({ number: 0n, attempt: 2, sequence: 8n, occurredAt: new Date(5), kind });
  });

  it("takes what servers take and not a byte more, and names what is too large", () => {
    const say = (kind: EventKind) => encodeEvent({ attempt: 1, sequence: 1, occurredAt: new Date(5), kind });
    const comment = (bytes: number) =>
      say({
        $case: "executionState",
        value: { state: ExecutionState.EXECUTION_STATE_RUNNING, failure: undefined, comment: "x".repeat(bytes) },
      });
    const spare = 65_536 - (comment(60_000).length - 60_000 - 4);
    expect(readEventBatch(comment(spare), 0n).fresh).to.have.lengthOf(1);
    expect(() => comment(spare + 1)).to.throw(AppError, /executionState.*too large: 65536/);
    const line = (text: string) =>
      say({ $case: "consoleMessage", value: { operatorId: "o", worker: 0, level: 1, text } });
    expect(readEventBatch(line("ü".repeat(4_096)), 0n).fresh).to.have.lengthOf(1);
    expect(() => line("ü".repeat(4_097))).to.throw(AppError, /consoleMessage of 8194 bytes is too large: 8192/);
  });

  it("takes apart what it laid end to end, and refuses what is cut off", () => {
    const events = upTo(40).map(event);
    const joined = joinEvents(events);
    expect(splitEvents(joined).map((one) => [...one])).to.deep.equal(events.map((one) => [...one]));
    expect(() => splitEvents(joined.subarray(0, joined.length - 1))).to.throw(/no whole events/);
  });
});

describe("the outbox", () => {
  let place: ReturnType<typeof scratch>;
  let warnings: string[];
  beforeEach(() => {
    place = scratch();
    warnings = [];
  });
  afterEach(() => place.remove());

  const spillTo = (directory: string, maxBytes = 1_000_000): SpillFiles =>
    openSpillFiles({ directory, maxBytes, log: (_level, _fields, message) => warnings.push(message) });
  const files = () =>
    readdirSync(place.directory, { recursive: true, encoding: "utf8" }).filter((f) => /events$/.test(f));

  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("say" as const), count: fc.integer({ min: 1, max: 40 }) }) },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant("send" as const),
        credit: fc.integer({ min: 0, max: 30 }),
        arrives: fc.boolean(),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("answer" as const), count: fc.integer({ min: 1, max: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("reconnect" as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const) }) },
  );
  for (const isSpilling of [false, true])
    it(`stores what was said, in order, once, whatever comes between${isSpilling ? ", with files" : ""}`, async () => {
      let written = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async (steps) => {
          const real = spillTo(place.directory, 20_000);
          const spill: SpillFiles = {
            ...real,
            write: (events) => {
              written++;
              return real.write(events);
            },
          };
          let told = { events: 0, bytes: 0 };
          const box = new Outbox({
            limits: LIMITS,
            spill: isSpilling ? spill : undefined,
            onRoom(room) {
              expect(room.events).to.be.at.least(told.events);
              expect(room.bytes).to.be.at.least(told.bytes);
              told = room;
            },
            onFault: (error) => expect.fail(String(error)),
          });
          box.begin(0);
          told = box.room;
          const stored: number[] = []; // what the server has, by its rules S1
          let answers: (() => void)[] = []; // what it has answered and we have not heard
          let said = 0;
          let bytes = 0;
          const arrive = (numbers: number[]) => {
            const expected = stored.length + 1;
            if (numbers[0]! > expected) return void answers.push(() => box.rewind(BigInt(expected)));
            for (const n of numbers) if (n === stored.length + 1) stored.push(n);
            const acked = BigInt(stored.length);
            answers.push(() => box.acknowledge(acked));
          };
          const reconnect = () => {
            answers = [];
            box.resume(BigInt(stored.length));
          };
          for (const now of steps) {
            switch (now.do) {
              case "say": {
                const burst: Uint8Array[] = [];
                for (let i = 0; i < now.count && said < told.events && bytes < told.bytes; i++) {
                  const one = event(++said);
                  bytes += one.length;
                  burst.push(one);
                }
                box.append(burst);
                break;
              }
              case "send": {
                const credit = stored.length + now.credit;
                const numbers = numbersOf(box.nextBatch(BigInt(credit)));
                expect(numbers.length).to.be.at.most(LIMITS.batchEvents);
                if (numbers.length > 0) expect(numbers.at(-1)).to.be.at.most(credit);
                if (numbers.length > 0 && now.arrives) arrive(numbers);
                break;
              }
              case "answer":
                for (const answer of answers.splice(0, now.count)) answer();
                break;
              case "reconnect":
                reconnect();
                break;
              case "wait":
                await new Promise((resolve) => setTimeout(resolve, 1));
            }
          }
          for (let stuck = 0; !(box.allSent && box.nothingInFlight); stuck++) {
            expect(stuck, "rounds without an end").to.be.lessThan(500);
            reconnect();
            await box.settled();
            for (let batch = box.nextBatch(EVERYTHING); batch.length > 0; batch = box.nextBatch(EVERYTHING)) {
              arrive(numbersOf(batch));
              for (const answer of answers.splice(0)) answer();
              await box.settled();
            }
          }
          expect(stored).to.deep.equal(upTo(said));
          expect(box.lastSequence).to.equal(said);
          expect(box.room).to.deep.equal({ events: said + LIMITS.events, bytes: bytes + LIMITS.bytes });
          await box.close();
          await spill.close();
          expect(files()).to.deep.equal([]);
        }),
        { numRuns: 100 },
      );
      if (isSpilling) expect(written, "files written").to.be.greaterThan(30);
    }).timeout(60_000);

  it("keeps an event until it is acknowledged, and sends it again after a reconnect", () => {
    const box = new Outbox();
    box.append(upTo(3).map(event));
    expect(numbersOf(box.nextBatch(EVERYTHING))).to.deep.equal([1, 2, 3]);
    expect(box.nextBatch(EVERYTHING)).to.deep.equal([]);
    box.acknowledge(1n);
    box.resume(1n);
    expect(numbersOf(box.nextBatch(EVERYTHING))).to.deep.equal([2, 3]);
  });

  it("sends nothing beyond the credit, and no batch above its limits", () => {
    const box = new Outbox({ limits: { ...LIMITS, batchBytes: 250 } });
    box.append(upTo(20).map(event));
    expect(box.nextBatch(0n)).to.deep.equal([]);
    expect(numbersOf(box.nextBatch(2n))).to.deep.equal([1, 2]);
    for (let batch = box.nextBatch(EVERYTHING); batch.length > 0; batch = box.nextBatch(EVERYTHING))
      expect(batch.length === 1 || joinEvents(batch).length <= 250).to.equal(true);
  });

  it("makes no batch that servers refuse, whatever its limits say", () => {
    const box = new Outbox({ limits: { events: 9_000, bytes: 1e9, batchEvents: 1e6, batchBytes: 1e9 } });
    box.append(upTo(3_000).map(event));
    expect(box.nextBatch(EVERYTHING)).to.have.lengthOf(1_024);
    const big = event(1);
    const padded = Array.from({ length: 80 }, () => Buffer.concat(Array(600).fill(big)));
    const other = new Outbox({ limits: { events: 9_000, bytes: 1e9, batchEvents: 1e6, batchBytes: 1e9 } });
    other.append(padded);
    expect(joinEvents(other.nextBatch(EVERYTHING)).length).to.be.within(900_000, 1024 * 1024);
  });

  it("hears an acknowledgement of what it sent before a Nack moved it back", () => {
    const box = new Outbox({ limits: LIMITS });
    box.append(upTo(14).map(event));
    box.nextBatch(EVERYTHING);
    box.rewind(1n);
    box.nextBatch(EVERYTHING);
    box.rewind(1n);
    box.acknowledge(7n);
    expect(numbersOf(box.nextBatch(EVERYTHING))[0]).to.equal(8);
  });

  it("goes on after the number an earlier process had stored", () => {
    const box = new Outbox();
    box.begin(41);
    box.append([event(42)]);
    expect(numbersOf(box.nextBatch(EVERYTHING))).to.deep.equal([42]);
  });

  it("refuses a server that contradicts what was said", () => {
    const box = new Outbox({ limits: { ...LIMITS, batchEvents: 2 } });
    box.append(upTo(3).map(event));
    box.nextBatch(EVERYTHING);
    expect(() => box.acknowledge(3n)).to.throw(/only 2 were sent/);
    box.acknowledge(2n);
    expect(() => box.rewind(2n)).to.throw(/asked for event 2/);
    expect(() => box.resume(1n)).to.throw(/2 are acknowledged/);
    expect(() => box.resume(3n)).to.throw(/2 were sent/);
  });

  it("acknowledges a great many events one by one without moving them each time", () => {
    const box = new Outbox({ limits: { events: 200_000, bytes: 1e9 } });
    const one = event(1);
    box.append(Array.from({ length: 200_000 }, () => one));
    const before = performance.now();
    for (let n = 1n; n <= 200_000n; n++) {
      if (box.nothingInFlight) box.nextBatch(EVERYTHING);
      box.acknowledge(n);
    }
    expect(performance.now() - before).to.be.lessThan(5_000);
    expect(box.nothingInFlight && box.allSent).to.equal(true);
  });

  it("goes on in files nobody else can read, gives their room, and removes them when they are acknowledged", async () => {
    const spill = spillTo(join(place.directory, "spill"));
    const box = new Outbox({ limits: LIMITS, spill });
    const before = box.room.events;
    for (let n = 1; n <= 200; n++) {
      box.append([event(n)]);
      await box.settled();
    }
    expect(box.room.events).to.be.greaterThan(before + 100);
    expect(files().length).to.be.greaterThan(3);
    for (const file of files()) expect(statSync(join(place.directory, file)).mode & 0o777).to.equal(0o600);
    const got: number[] = [];
    while (got.length < 200) {
      const numbers = numbersOf(box.nextBatch(EVERYTHING));
      got.push(...numbers);
      if (numbers.length > 0) box.acknowledge(BigInt(got.length));
      await box.settled();
    }
    expect(got).to.deep.equal(upTo(200));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(files()).to.deep.equal([]);
    await box.close();
    await spill.close();
    expect(warnings).to.deep.equal([]);
  });

  const noRoom: [string, () => SpillFiles][] = [
    ["full", () => spillTo(place.directory, 100)],
    [
      "unwritable",
      () => {
        writeFileSync(join(place.directory, "file"), "");
        return spillTo(join(place.directory, "file", "below"));
      },
    ],
  ];
  for (const [what, open] of noRoom)
    it(`is full, and loses nothing, when the disk is ${what}; it says so once`, async () => {
      const spill = open();
      const box = new Outbox({ limits: LIMITS, spill });
      const before = box.room.events;
      for (let n = 1; n <= 40; n++) {
        box.append([event(n)]);
        await box.settled();
      }
      expect(box.room.events).to.equal(before);
      expect(warnings).to.have.length(1);
      const got: number[] = [];
      for (let batch = box.nextBatch(EVERYTHING); batch.length > 0; batch = box.nextBatch(EVERYTHING))
        got.push(...numbersOf(batch));
      expect(got).to.deep.equal(upTo(40));
      await box.close();
      await spill.close();
    });

  it("says that a file cannot be read back, instead of going on without it", async () => {
    let fault: unknown;
    const real = spillTo(place.directory);
    const spill: SpillFiles = {
      ...real,
      async write(events) {
        const file = await real.write(events);
        return file && { ...file, read: () => Promise.reject(new Error("bad sector")) };
      },
    };
    const box = new Outbox({ limits: LIMITS, spill, onFault: (error) => (fault = error) });
    for (let n = 1; n <= 60; n++) {
      box.append([event(n)]);
      await box.settled();
    }
    for (let batch = box.nextBatch(EVERYTHING); batch.length > 0; batch = box.nextBatch(EVERYTHING))
      box.acknowledge(BigInt(numbersOf(batch).at(-1)!));
    await box.settled();
    expect(String(fault)).to.match(/bad sector/);
    await box.close();
    await real.close();
  });
});
