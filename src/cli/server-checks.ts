import { decodeJwt } from "jose";
import { HealthCheckResponse_ServingStatus, HealthClient } from "../contract/grpc/health/v1/health.js";
import { Scope } from "../contract/postern/v1/options.js";
import { AppError } from "../core/app-error.js";
import { callUnary, channelCredentials, UNARY_CHANNEL_OPTIONS } from "../rpc/channel.js";
import type { Api } from "./api.js";
import { type Finding, fail, ok, warn } from "./finding.js";
import { counted, duration } from "./text.js";

const DEADLINE_MS = 5_000;
/** Tokens tolerate a little; beyond this they begin to fail. */
const TOLERATED_SKEW_MS = 5_000;

export async function checkServer(api: Api): Promise<Finding[]> {
  const reachable = await checkHealth(api);
  if (reachable.verdict === "fail") return [reachable];
  const token = await checkToken(api);
  const findings = [reachable, await checkCapabilities(api), token];
  if (token.verdict !== "ok") return findings;
  return [...findings, await checkComputingUnit(api), await checkClock(api)];
}

async function checkHealth(api: Api): Promise<Finding> {
  const { address } = api.connection;
  const client = new HealthClient(address.address, channelCredentials(address), UNARY_CHANNEL_OPTIONS);
  try {
    const { status } = await callUnary(client, "check", { service: "" }, { deadlineMs: DEADLINE_MS });
    if (status === HealthCheckResponse_ServingStatus.SERVING) return ok("server", `${address.address} is healthy`);
    const state = HealthCheckResponse_ServingStatus[status] ?? String(status);
    return fail("server", `${address.address} says ${state}`, "It is starting or stopping, or its database is away.");
  } catch (error) {
    return fail("server", (error as Error).message, "Start it, or name another one with --server.");
  } finally {
    client.close();
  }
}

async function checkCapabilities(api: Api): Promise<Finding> {
  try {
    const reply = await api.call(api.executions, "getCapabilities", {}, { deadlineMs: DEADLINE_MS });
    return ok("release", `${reply.release}, protocol ${reply.protocolVersions.join(", ")}, plans ${reply.planFormat}`);
  } catch (error) {
    return fail("release", (error as Error).message, "This is no Postern server, or an older one: upgrade it.");
  }
}

async function checkToken(api: Api): Promise<Finding> {
  try {
    const { subject, scopes } = await api.call(api.access, "whoAmI", {}, { deadlineMs: DEADLINE_MS });
    const names = scopes.map((scope) => Scope[scope]?.replace("SCOPE_", "").toLowerCase());
    return ok("token", `accepted: you are ${subject}, and may ${names.join(", ")}`);
  } catch (error) {
    const next = "Get a new token: restart `postern dev`, or ask your identity provider.";
    return fail("token", (error as Error).message, next);
  }
}

async function checkComputingUnit(api: Api): Promise<Finding> {
  try {
    const [projectId, id] = [api.connection.project(), api.connection.computingUnit()];
    const { computingUnits } = await api.call(api.access, "listComputingUnits", { projectId });
    const unit = computingUnits.find((one) => one.id === id);
    if (!unit) return warn("computing unit", `${id} is not in project ${projectId}`, "Name one with --computing-unit.");
    const executors = `${id}: ${counted(unit.connectedExecutors, "executor")}, ${counted(unit.freeSlots, "free slot")}`;
    if (unit.connectedExecutors > 0) return ok("computing unit", executors);
    return warn(
      "computing unit",
      executors,
      "Start an executor with `postern executor`: runs wait until there is one.",
    );
  } catch (error) {
    return warn("computing unit", (error as Error).message, "");
  }
}

/** The server's clock as a token it mints tells it; only owners may ask for one. */
async function checkClock(api: Api): Promise<Finding> {
  try {
    const request = { projectId: api.connection.project(), computingUnitId: api.connection.computingUnit() };
    const { token } = await api.call(api.access, "createServeToken", request, { deadlineMs: DEADLINE_MS });
    const issuedMs = (decodeJwt(token).iat ?? 0) * 1000;
    // The claim counts whole seconds, so up to one second means nothing.
    const skewMs = issuedMs - Date.now() + 500;
    if (Math.abs(skewMs) <= TOLERATED_SKEW_MS) return ok("clock", "agrees with the server's");
    const side = skewMs > 0 ? "behind" : "ahead of";
    return warn(
      "clock",
      `${duration(Math.abs(skewMs))} ${side} the server's`,
      "Set both by NTP: tokens run out early or count as not yet valid.",
    );
  } catch (error) {
    if (error instanceof AppError && (error.code === "forbidden" || error.code === "not-found"))
      return ok("clock", "not compared: that takes an owner of the project");
    return warn("clock", (error as Error).message, "");
  }
}
