import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import { expect } from "chai";
import type { ExecutionSpec } from "../../src/contract/postern/v1/execution.js";
import { PortResult } from "../../src/contract/postern/v1/port_registry.js";
import { callUnary } from "../../src/rpc/channel.js";
import { attachExecutor } from "../support/attached-executor.js";
import { rejection } from "../support/rejection.js";
import { PROJECT, startTestServer, type TestServer, UNIT, WORKFLOW } from "../support/test-server.js";

const KEY = { operatorId: "order", layer: "main", portId: 0, internal: false, input: false };
const GLOBAL_ID = "(logicalOpId=order,layerName=main,portId=0,isInternal=false,isInput=false)";
const HUGE = 2n ** 53n + 1n;

describe("PortRegistry", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  const port = (spec: ExecutionSpec, changes: Partial<PortResult> = {}): PortResult =>
    PortResult.fromPartial({
      key: KEY,
      uri: `${spec.resultPrefix}order.parquet`,
      rowCount: HUGE,
      byteCount: 7n,
      ...changes,
    });
  const register = (spec: ExecutionSpec, ports: PortResult[], token = server.owner) =>
    callUnary(server.client.ports, "registerPorts", { executionId: spec.executionId, ports }, { token });

  it("keeps counts beyond 2^53, and fills in what only the plan knows", async () => {
    const { spec } = await server.prepare();
    const { ports } = await register(spec!, [port(spec!, { subdagHash: "forged", viewed: false })]);
    expect(ports[0]).to.include({ globalPortId: GLOBAL_ID, rowCount: HUGE, viewed: true });
    expect(ports[0]!.subdagHash).to.equal(spec!.plan!.operators[2]!.outputs[0]!.subdagHash);
    expect(ports[0]!.schema!.attributes.map((a) => a.name)).to.deep.equal(["name", "weight"]);
  });

  it("replaces a port that is registered again", async () => {
    const { spec, token } = await server.prepare();
    await register(spec!, [port(spec!, { rowCount: 1n })], token);
    await register(spec!, [port(spec!, { rowCount: 2n })], token);
    const list = await callUnary(
      server.client.ports,
      "listPorts",
      { executionId: spec!.executionId },
      { token: server.owner },
    );
    expect(list.ports.map((p) => p.rowCount)).to.deep.equal([2n]);
  });

  it("finds ports by logical port, physical port and global port id, and answers in order", async () => {
    const { spec } = await server.prepare();
    await register(spec!, [port(spec!)]);
    const selectors = [
      { by: { $case: "logicalPort" as const, value: { operatorId: "order", portId: 0 } } },
      { by: { $case: "logicalPort" as const, value: { operatorId: "heavy", portId: 0 } } },
      { by: { $case: "physicalPort" as const, value: KEY } },
      { by: { $case: "globalPortId" as const, value: GLOBAL_ID } },
    ];
    const latest = { projectId: PROJECT, workflowId: WORKFLOW, computingUnitId: UNIT };
    for (const of of [
      { $case: "executionId" as const, value: spec!.executionId },
      { $case: "latest" as const, value: latest },
    ]) {
      const reply = await callUnary(
        server.client.ports,
        "resolvePorts",
        { of, ports: selectors },
        { token: server.owner },
      );
      expect(reply.executionId).to.equal(spec!.executionId);
      expect(reply.resolutions.map((r) => r.port?.globalPortId)).to.deep.equal([
        GLOBAL_ID,
        undefined,
        GLOBAL_ID,
        GLOBAL_ID,
      ]);
    }
  });

  it("uses an index for each kind of look-up", async () => {
    const plans = await server.db.query<Record<string, unknown[]>>(
      `explain (format json) select * from port_result where execution_id = '00000000-0000-0000-0000-000000000000'
          and operator_id = 'order' and port_id = 0`,
    );
    expect(JSON.stringify(plans)).to.match(/port_result_(logical|pkey)/);
  });

  it("registers all ports of a call or none", async () => {
    const { spec } = await server.prepare();
    const elsewhere = port(spec!, { key: { ...KEY, operatorId: "heavy" }, uri: "file:///etc/passwd" });
    const refused = await rejection(register(spec!, [port(spec!), elsewhere]));
    expect(refused).to.include({ code: "invalid", reason: "URI_OUTSIDE_PREFIX" });
    const list = await callUnary(
      server.client.ports,
      "listPorts",
      { executionId: spec!.executionId },
      { token: server.owner },
    );
    expect(list.ports).to.deep.equal([]);
  });

  for (const uri of ["../../../x", "a/../../../x", "%2e%2e/x", "a//b", "a?b", "", "."]) {
    it(`refuses the URI <prefix>${uri}`, async () => {
      const { spec } = await server.prepare();
      const refused = await rejection(register(spec!, [port(spec!, { uri: `${spec!.resultPrefix}${uri}` })]));
      expect(refused).to.include({ reason: "URI_OUTSIDE_PREFIX" });
    });
  }

  it("refuses another execution's prefix, and a port the plan does not have", async () => {
    const [one, other] = [(await server.prepare()).spec!, (await server.prepare()).spec!];
    expect(await rejection(register(one, [port(other)]))).to.include({ reason: "URI_OUTSIDE_PREFIX" });
    const unknown = port(one, { key: { ...KEY, operatorId: "nowhere" } });
    expect(await rejection(register(one, [unknown]))).to.include({ reason: "MANIFEST_REFUSED" });
  });

  it("does not let the token of one execution touch another", async () => {
    const [one, other] = [await server.prepare(), await server.prepare()];
    expect(await rejection(register(one.spec!, [port(one.spec!)], other.token))).to.include({ code: "not-found" });
  });

  it("refuses registrations after the end", async () => {
    const { spec, token } = await server.prepare();
    const executor = attachExecutor(server.client.executions, token);
    await executor.hello(spec!);
    await executor.complete(spec!);
    await executor.next("completeAck");
    expect(await rejection(register(spec!, [port(spec!)]))).to.include({ reason: "ILLEGAL_TRANSITION" });
    expect(await rejection(register(spec!, [port(spec!)], token))).to.include({ code: "unauthenticated" });
  });

  it("lists consoles by operator, and forgets everything on request, telling the URIs", async () => {
    const { spec } = await server.prepare();
    await register(spec!, [port(spec!)]);
    const uri = `${spec!.resultPrefix}console/heavy.txt`;
    const consoles = [{ operatorId: "heavy", worker: 0, uri, lineCount: 3n, byteCount: 12n }];
    const { executionId } = spec!;
    await callUnary(server.client.ports, "registerConsoles", { executionId, consoles }, { token: server.owner });
    await callUnary(server.client.ports, "registerConsoles", { executionId, consoles }, { token: server.owner });
    const list = await callUnary(server.client.ports, "listPorts", { executionId }, { token: server.owner });
    expect(list.consoles).to.deep.equal(consoles);
    const cleared = await callUnary(server.client.ports, "clearExecution", { executionId }, { token: server.owner });
    expect(cleared.releasedUris).to.have.members([uri, `${spec!.resultPrefix}order.parquet`]);
    const again = await callUnary(server.client.ports, "clearExecution", { executionId }, { token: server.owner });
    expect(again.releasedUris).to.deep.equal([]);
  });

  describe("ReadPort", () => {
    let spec: ExecutionSpec;
    before(async () => {
      spec = (await server.prepare()).spec!;
      const path = fileURLToPath(`${spec.resultPrefix}order.parquet`);
      await mkdir(dirname(path), { recursive: true });
      const instance = await DuckDBInstance.create(":memory:");
      const connection = await instance.connect();
      await connection.run(
        `copy (select 'n' || i as name, ${HUGE} + i as weight from range(250) t(i)) to '${path}' (format parquet)`,
      );
      connection.closeSync();
      instance.closeSync();
      await register(spec, [port(spec, { rowCount: 250n })]);
    });

    const read = (changes: object, token = server.owner) =>
      callUnary(
        server.client.ports,
        "readPort",
        {
          executionId: spec.executionId,
          port: { by: { $case: "logicalPort", value: { operatorId: "order", portId: 0 } } },
          offset: 0n,
          limit: 0,
          columns: [],
          where: "",
          ...changes,
        },
        { token },
      );

    it("pages through the rows in order, 64-bit numbers intact", async () => {
      const page = await read({ offset: 200n, limit: 100 });
      expect(page.totalRows).to.equal(250n);
      expect(page.rows).to.have.lengthOf(50);
      expect(page.rows[0]!.cells).to.deep.equal([
        { value: { $case: "stringValue", value: "n200" } },
        { value: { $case: "intValue", value: HUGE + 200n } },
      ]);
    });

    it("returns the columns asked for, whatever their case, and refuses others", async () => {
      const page = await read({ columns: ["WEIGHT"], limit: 1 });
      expect(page.schema!.attributes.map((a) => a.name)).to.deep.equal(["weight"]);
      expect(await rejection(read({ columns: ["colour"] }))).to.include({ code: "invalid" });
    });

    it("returns only the rows that meet an expression, pages through them and counts them", async () => {
      const where = `weight >= ${HUGE} + 100 and name like '%9' -- those that end in nine`;
      const page = await read({ where, offset: 10n, limit: 3, columns: ["name"] });
      expect(page.totalRows).to.equal(15n);
      expect(page.rows.map(({ cells }) => cells[0]!.value)).to.deep.equal(
        ["n209", "n219", "n229"].map((value) => ({ $case: "stringValue", value })),
      );
    });

    it("refuses an expression that reads anything else, is none, or fails over the rows, in one sentence", async () => {
      for (const [where, sentence] of [
        ["name in (select name from read_parquet('/etc/passwd'))", /subquery/],
        ["getenv('HOME') = ''", /no function/],
        ["colour = 'red'", /no column "colour"/],
        ["weight", /true or false/],
        ["true; drop table x", /no SQL expression/],
        ["cast(name as integer) > 0", /Could not convert/],
      ] as const)
        expect(await rejection(read({ where })), where)
          .to.include({ code: "invalid" })
          .and.property("message")
          .match(sentence);
    });

    it("refuses who may not see the workflow, and limits beyond 10,000", async () => {
      expect(await rejection(read({}, await server.userToken("stranger")))).to.include({ code: "not-found" });
      expect(await rejection(read({ limit: 10_001 }))).to.include({ code: "invalid" });
    });

    it("says that rows are gone when their object is", async () => {
      const { spec: other } = await server.prepare();
      await register(other!, [port(other!)]);
      expect(await rejection(read({ executionId: other!.executionId }))).to.include({ reason: "RESULT_UNREADABLE" });
    });
  });
});
