import { expect } from "chai";
import { followExecution } from "../../src/cli/follow-execution.js";
import { WatchExecutionResponse } from "../../src/contract/postern/v1/execution.js";
import { AppError } from "../../src/core/app-error.js";

const item = (number: bigint): WatchExecutionResponse =>
  WatchExecutionResponse.fromPartial({ item: { $case: "caughtUp", value: { number } } });
const numberOf = ({ item: it }: WatchExecutionResponse) => (it?.$case === "caughtUp" ? it.value.number : -1n);
const away = new AppError("unavailable", "UNAVAILABLE", "The server is away.");

/** Plays one script per connection: numbers are items, an error ends the connection. */
function follow(scripts: (bigint | Error)[][], more: { endsWith?: bigint; signal?: AbortSignal } = {}) {
  const [asked, pauses]: [(bigint | undefined)[], number[]] = [[], []];
  let last: bigint | undefined;
  const items = followExecution({
    async *watch(after) {
      asked.push(after);
      for (const step of scripts[asked.length - 1] ?? [away]) {
        if (step instanceof Error) throw step;
        last = step;
        yield item(step);
      }
    },
    isOver: () => last !== undefined && last === more.endsWith,
    lastNumber: () => last,
    onLost() {},
    delay: async (ms) => void pauses.push(ms),
    signal: more.signal ?? new AbortController().signal,
  });
  return { items, asked, pauses };
}

async function collect(items: AsyncIterable<WatchExecutionResponse>): Promise<bigint[]> {
  const seen: bigint[] = [];
  for await (const one of items) seen.push(numberOf(one));
  return seen;
}

describe("following an execution", () => {
  it("asks for what comes after the last number seen whenever the connection is lost", async () => {
    const { items, asked } = follow([[1n, 2n, away], [3n], [4n, 5n]], { endsWith: 5n });
    expect(await collect(items)).to.deep.equal([1n, 2n, 3n, 4n, 5n]);
    expect(asked).to.deep.equal([undefined, 2n, 3n]);
  });

  it("stops once the end has been seen, however the stream closes", async () => {
    const { items, asked } = follow([[1n, away]], { endsWith: 1n });
    expect(await collect(items)).to.deep.equal([1n]);
    expect(asked).to.have.length(1);
  });

  it("waits longer and longer between tries in vain, and starts anew after a success", async () => {
    const { items, pauses } = follow([[away], [away], [away], [1n, away], [2n]], { endsWith: 2n });
    await collect(items);
    expect(pauses.slice(0, 3)).to.deep.equal([200, 400, 800]);
    expect(pauses[3]).to.equal(200);
  });

  it("gives up when the server stays away", async () => {
    const { items } = follow([]);
    expect(await collect(items).catch((error) => error)).to.equal(away);
  });

  it("does not try again when it is refused", async () => {
    const refused = new AppError("not-found", "NOT_FOUND", "There is no such execution.");
    const { items, asked } = follow([[1n, refused]]);
    expect(await collect(items).catch((error) => error)).to.equal(refused);
    expect(asked).to.have.length(1);
  });

  it("ends with the signal's reason", async () => {
    const controller = new AbortController();
    controller.abort(new Error("left"));
    const { items } = follow([[1n]], { signal: controller.signal });
    expect((await collect(items).catch((error) => error)).message).to.equal("left");
  });
});
