import { expect } from "chai";
import { planPorts } from "../../src/server/cache/plan-ports.js";
import { withNumbers } from "../../src/server/database/named-parameters.js";
import { storedPlan } from "../../src/server/executions/execution-plan.js";
import { bestEntries, findCachedPorts, hasHash, wantedParams } from "../../src/server/repositories/cache-lookup.js";
import { commitPorts, filterId, hashOf, lookUp, portOf, prepareFor, putFilters } from "../support/cache-executions.js";
import { PROJECT, startTestServer, type TestServer } from "../support/test-server.js";

describe("findCachedPorts", () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
    await server.furnish();
  });
  after(() => server.stop());

  it("finds what a lookup would, and pins and reserves nothing", async () => {
    await putFilters(server, "found", 2);
    const one = await prepareFor(server, "found");
    const [reserved] = await lookUp(server, one);
    await commitPorts(server, one, [{ operatorId: filterId(0), reservation: reserved!.reservation }]);
    const ports = [...planPorts(await storedPlan(server.db, one.executionId)).values()].flatMap(({ wanted }) =>
      "reason" in wanted ? [] : [wanted],
    );
    const of = { projectId: PROJECT, workflowId: "found", subject: "owner" };
    const found = await findCachedPorts(server.db, { ...of, ports });
    expect([...found.keys()]).to.deep.equal([portOf(one, filterId(0))]);
    expect(found.get(portOf(one, filterId(0)))).to.include({ tupleCount: 3n, computeMs: 40n });
    expect(await server.db.query("select from cache_pin")).to.deep.equal([]);
    expect(await findCachedPorts(server.db, { ...of, ports: [] })).to.deep.equal(new Map());
  });

  it("finds an entry by its fingerprint whatever characters are in that", async () => {
    await putFilters(server, "texts", 1);
    const one = await prepareFor(server, "texts");
    const [reserved] = await lookUp(server, one);
    await commitPorts(server, one, [{ operatorId: filterId(0), reservation: reserved!.reservation }]);
    const hash = hashOf(one, filterId(0));
    const of = { projectId: PROJECT, workflowId: "texts", subject: "owner" };
    for (const fingerprintJson of ['{"a":"\\\\n \\u0001 \\""}', "\\x4142", "\\101", "'größer \u{1f600}'", "\\"]) {
      await server.db.query("update cache_entry set fingerprint_json = :fingerprintJson where subdag_hash = :hash", {
        fingerprintJson,
        hash,
      });
      const port = { globalPortId: "p", subdagHash: hash, fingerprintJson };
      expect([...(await findCachedPorts(server.db, { ...of, ports: [port] })).keys()], fingerprintJson).to.have.length(
        1,
      );
      const other = { ...port, fingerprintJson: `${fingerprintJson} ` };
      expect(await findCachedPorts(server.db, { ...of, ports: [other] })).to.deep.equal(new Map());
    }
  });

  it("reads nothing of another project's entries, however many have the hash", async () => {
    await putFilters(server, "mine", 1);
    const one = await prepareFor(server, "mine");
    const subdagHash = hashOf(one, filterId(0));
    await server.db.query("insert into project (id, name, created_by) values ('crowd', 'crowd', 'crowd')");
    await server.db.query(
      `insert into workflow (project_id, id, latest_version, created_by)
       select 'crowd', 'w' || n, 0, 'crowd' from generate_series(1, 2000) n`,
    );
    await server.db.query(
      `insert into blob (uri, project_id, execution_id, row_count, byte_count)
       values ('file:///crowd', 'crowd', gen_random_uuid(), 1, 1)`,
    );
    await server.db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id)
       select 'crowd', 'w' || n, 'p', :subdagHash, '{}', 'file:///crowd', 1, 1, gen_random_uuid()
         from generate_series(1, 2000) n`,
      { subdagHash },
    );
    await server.db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id)
       select :project, 'mine', 'p' || n, encode(sha256(cast(cast(n as text) as bytea)), 'hex'), '{}', 'file:///crowd', 1, 1,
              gen_random_uuid() from generate_series(1, 3000) n`,
      { project: PROJECT },
    );
    await server.db.query("analyze cache_entry");
    const plan = await server.db.query<Record<string, string>>(
      `explain (analyze, buffers, format text)
       select c.result_uri from (values (cast(:subdagHash as text))) w (subdag_hash)
         join cache_entry c on ${hasHash(`'${PROJECT}'`)}`,
      { subdagHash },
    );
    const said = plan.map((row) => Object.values(row)[0]).join("\n");
    expect(said).to.include("cache_entry_hash");
    expect(Number(/Buffers: shared hit=(\d+)/.exec(said)?.[1]), said).to.be.below(50);
  });

  it("scans an index for the ports of a workflow alone, and never compares each port with each entry", async () => {
    await server.db.query(
      `insert into workflow (project_id, id, latest_version, created_by)
       select :project, 'small-' || n, 0, 'owner' from generate_series(0, 1999) n`,
      { project: PROJECT },
    );
    await server.db.query(
      `insert into blob (uri, project_id, execution_id, row_count, byte_count)
       values ('file:///small', :project, gen_random_uuid(), 1, 1)`,
      { project: PROJECT },
    );
    // Postgres guesses few entries of each workflow, and is wrong about the first one.
    await server.db.query(
      `insert into cache_entry (project_id, workflow_id, global_port_id, subdag_hash, fingerprint_json, result_uri,
                                tuple_count, byte_count, source_execution_id)
       select :project, 'small-' || case when n < 6000 then 0 else n % 2000 end, 'p' || n,
              encode(sha256(cast(cast(n as text) as bytea)), 'hex'), '{}', 'file:///small', 1, 1, gen_random_uuid()
         from generate_series(1, 12000) n`,
      { project: PROJECT },
    );
    await server.db.query("analyze cache_entry");
    const param = (name: string) => `(select ${name} from whose)`;
    const { text } = withNumbers(
      `with whose as materialized (
         select :project as project, :workflow as workflow, true as shared, :subject as subject),
       ${bestEntries({ project: param("project"), workflow: param("workflow"), shared: param("shared"), subject: param("subject") })}
       select * from hit`,
      { project: PROJECT, workflow: "small-0", subject: "owner", ...wantedParams([]) },
    );
    const said = await server.db.transaction(async (tx) => {
      // What Postgres plans once it does not look at the arrays any more.
      await tx.query("set local plan_cache_mode = force_generic_plan");
      await tx.query(`prepare find (text, text, text) as ${text}`);
      const plan = await tx.query<Record<string, string>>("explain execute find ('', '', '', '', '{}', '{}', '{}')");
      await tx.query("deallocate find");
      return plan.map((row) => Object.values(row)[0]).join("\n");
    });
    expect(said).to.match(/(Hash|Merge) Full Join/);
    expect(said).to.match(/(on|using) cache_entry_workflow\b.*\n\s+Index Cond: .*= ANY/);
    expect(said).not.to.match(/Filter: .*= ANY/);
  });
});
