import { expect } from "chai";
import { z } from "zod";
import { OPERATOR_TYPES } from "../../src/core/operators/catalogue.js";
import { type FakeServer, startFakeServer } from "./fake-server.js";
import { cli, fakeTerminal } from "./fake-terminal.js";

describe("postern operators", () => {
  let server: FakeServer;
  beforeEach(async () => {
    const operatorTypes = [...OPERATOR_TYPES.values()].map(({ type, summary, group, inputs, outputs, settings }) => ({
      type,
      summary,
      group,
      inputPorts: typeof inputs === "number" ? inputs : -1,
      outputPorts: typeof outputs === "number" ? outputs : -1,
      propertiesSchema: z.toJSONSchema(settings, { io: "input" }),
    }));
    server = await startFakeServer({ listOperatorTypes: () => ({ operatorTypes }) });
  });
  afterEach(() => server.stop());
  const run = (...args: string[]) =>
    cli(["operators", ...args], fakeTerminal({ env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t0k3n" } }));

  it("lists every type the server knows with its ports", async () => {
    const { code, out } = await run();
    expect(code).to.equal(0);
    const lines = out.split("\n");
    expect(lines[0]).to.match(/^TYPE +GROUP +INPUTS +OUTPUTS +WHAT IT DOES$/);
    expect(lines.slice(2, -1).map((line) => line.split(" ")[0])).to.deep.equal([...OPERATOR_TYPES.keys()]);
    expect(out).to.match(/\nunion +combine +any +1 +Puts the rows/);
    expect(out).to.match(/\nsplit +rows +1 +2 +Sends each row/);
  });

  it("shows the settings of one, those within lists too, with what must be given", async () => {
    const { code, out } = await run("join");
    expect(code).to.equal(0);
    expect(out).to.match(/^join: Pairs rows .*\n2 inputs, 1 output\n\n/);
    expect(out).to.match(
      /\ntype {2}default "inner"\n {4}"inner", "left", "right", "full", "semi", "anti"\n {4}inner: only/,
    );
    expect(out).to.contain("\non[].left  required\n    text\n    A column of input 0.\n");
    expect((await run("distinct")).out).to.contain("It has no settings.");
  });

  it("wraps what settings mean to the width of a terminal", async () => {
    const terminal = fakeTerminal({ env: { POSTERN_SERVER: server.address, POSTERN_TOKEN: "t0k3n", NO_COLOR: "1" } });
    Object.assign(terminal.out, { isTTY: true, columns: 60 });
    const { out } = await cli(["operators", "window"], terminal);
    const settings = out.split("\n").slice(3);
    for (const line of settings) expect(line.length, line).to.be.at.most(60);
    expect(settings.join(" ").replaceAll(/ +/g, " ")).to.contain(
      "dense_rank none; lag and lead give an earlier or later",
    );
  });

  it("gives types as the contract has them with --json", async () => {
    const all = JSON.parse((await run("--json")).out);
    expect(all.operatorTypes).to.have.length(OPERATOR_TYPES.size);
    const one = JSON.parse((await run("sort", "--json")).out);
    expect(one).to.deep.include({ type: "sort", group: "order", inputPorts: 1, outputPorts: 1 });
    expect(one.propertiesSchema.required).to.deep.equal(["by"]);
  });

  it("says what was probably meant by a type that does not exist", async () => {
    const { code, err } = await run("jion");
    expect(code).to.equal(4);
    expect(err).to.contain('There is no operator type "jion"; did you mean "join"? There are: scan, ');
  });
});
