// CommitPorts: finished ports registered and remembered by one call, for executors that report without a stream.
import type { CommitPortsResponse, PortCommit } from "../../contract/postern/v1/cache.js";
import { invalid } from "../../core/app-error.js";
import { sha256Hex } from "../../core/canonical-json.js";
import type { Queryable } from "../database/database.js";
import { outputPorts, portRows, type ReportedBy } from "../executions/port-registration.js";
import { executionPrefix } from "../executions/result-location.js";
import { commitOffers } from "../repositories/cache-commits.js";
import type { LookupFor } from "../repositories/cache-reservations.js";
import { lockReportable } from "../repositories/execution-leases.js";
import type { ExecutionRow } from "../repositories/executions.js";
import { upsertPorts } from "../repositories/ports.js";
import { fenceRefusal, type LookupDeps } from "./lookup-plan.js";
import { planPorts } from "./plan-ports.js";
import { portOffer } from "./port-offer.js";
import { auditingRefusals, NEVER_RESERVED, OfferRefused, OTHER_FINGERPRINT } from "./refused-offer.js";

const MOST_COMMITS = 1_000;

/** All or none of the ports are registered; those whose reservation was lost are not remembered. */
export async function commitPorts(
  deps: LookupDeps,
  row: ExecutionRow,
  by: LookupFor,
  commits: PortCommit[],
  actor: string,
): Promise<CommitPortsResponse> {
  if (commits.length > MOST_COMMITS)
    throw invalid(`${commits.length} ports are too many for one call; send at most ${MOST_COMMITS}.`);
  if (new Set(commits.map(({ globalPortId }) => globalPortId)).size < commits.length)
    throw invalid("A port is named twice; send each port once.");
  const plan = await deps.planOf(row);
  const outcomes = await auditingRefusals(deps.db, actor, () =>
    deps.db.transaction(async (tx) => {
      const held = await lockReportable(tx, row.id, by.epoch);
      if (!held) throw await fenceRefusal(tx, by, "reported on");
      const reported = {
        executionId: row.id,
        attempt: held.attempt,
        prefix: executionPrefix(deps.resultRoot, held),
        plan,
      };
      return store(tx, reported, held.epoch, commits);
    }),
  );
  deps.hints.cacheChanged(outcomes.filter(({ outcome }) => outcome === "COMMITTED"));
  const those = (wanted: string) =>
    commits.filter((_, i) => outcomes[i]!.outcome === wanted).map(({ globalPortId }) => globalPortId);
  return { committed: those("COMMITTED"), lost: those("LOST") };
}

async function store(tx: Queryable, by: ReportedBy, epoch: bigint, commits: readonly PortCommit[]) {
  for (const commit of commits) requireOwnFingerprint(by, commit);
  const outputs = outputPorts(by.plan);
  const ports = commits.map(({ globalPortId, uri, tupleCount, byteCount, computeMs, reservation, subdagHash }) => ({
    key: outputs.get(globalPortId)!.key,
    globalPortId,
    uri,
    rowCount: tupleCount,
    byteCount,
    schema: undefined,
    subdagHash,
    registeredAt: undefined,
    viewed: false,
    computeMs,
    reservation,
    reused: false,
  }));
  await upsertPorts(tx, portRows(by, ports));
  const offers = commits.map((commit) => ({ ...portOffer(by, commit.globalPortId, commit), epoch }));
  const outcomes = await commitOffers(tx, offers);
  const refused = commits.find((_, i) => outcomes[i]!.outcome === "REFUSED");
  if (refused) throw new OfferRefused({ ...refused, executionId: by.executionId, why: NEVER_RESERVED });
  return outcomes;
}

/** Hash and fingerprint must be those of the plan the server issued: nobody's word counts but its own. */
function requireOwnFingerprint({ executionId, plan }: ReportedBy, commit: PortCommit): void {
  const port = planPorts(plan).get(commit.globalPortId);
  if (!port) throw invalid(`The plan has no output port ${JSON.stringify(commit.globalPortId.slice(0, 300))}.`);
  const { wanted } = port;
  const { subdagHash, fingerprintJson } = commit;
  const isOurs =
    !("reason" in wanted) &&
    subdagHash === wanted.subdagHash &&
    (fingerprintJson === "" ||
      (sha256Hex(fingerprintJson) === subdagHash && fingerprintJson === wanted.fingerprintJson));
  if (isOurs) return;
  const hash = subdagHash.slice(0, 80);
  throw new OfferRefused({ ...commit, subdagHash: hash, executionId, why: OTHER_FINGERPRINT });
}
