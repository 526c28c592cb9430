import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { expect } from "chai";
import fc from "fast-check";
import { ErrorReason } from "../../src/contract/postern/v1/error.js";
import {
  AppError,
  type Diagnostic,
  type ErrorCode,
  type ErrorDetail,
  illegalTransition,
  planInvalid,
  staleLease,
} from "../../src/core/app-error.js";
import { appErrorOf, statusOf } from "../../src/rpc/status.js";

const CODES: [ErrorCode, status][] = [
  ["invalid", status.INVALID_ARGUMENT],
  ["unauthenticated", status.UNAUTHENTICATED],
  ["forbidden", status.PERMISSION_DENIED],
  ["not-found", status.NOT_FOUND],
  ["conflict", status.ALREADY_EXISTS],
  ["precondition", status.FAILED_PRECONDITION],
  ["exhausted", status.RESOURCE_EXHAUSTED],
  ["unavailable", status.UNAVAILABLE],
  ["cancelled", status.CANCELLED],
  ["deadline", status.DEADLINE_EXCEEDED],
];

const unexpected = (error: unknown) => {
  throw error;
};

/** As it is at the other end of the wire. */
const received = (sent: Partial<StatusObject>): ServiceError =>
  Object.assign(new Error("x"), { code: status.UNKNOWN, details: "", metadata: new Metadata(), ...sent });

const roundTrip = (error: AppError) => appErrorOf(received(statusOf(error, unexpected)), "host:1");

describe("AppError ⇄ status", () => {
  for (const [code, number] of CODES)
    it(`carries ${code} as ${status[number]} with reason and sentence`, () => {
      const error = new AppError(code, "SOME_REASON", "A sentence.");
      expect(statusOf(error, unexpected)).to.include({ code: number, details: "A sentence." });
      expect(roundTrip(error)).to.include({ code, reason: "SOME_REASON", message: "A sentence." });
    });

  const details: ErrorDetail[] = [
    staleLease(2n ** 60n, 2n ** 61n).detail!,
    illegalTransition("FAILED", "RUNNING").detail!,
    { kind: "UnexpectedSequence", expected: 5n, received: 2n ** 62n },
    { kind: "QuotaExceeded", quota: "uploads", limit: 2n ** 40n, used: 2n ** 41n },
  ];
  for (const detail of details)
    it(`carries the detail ${detail.kind}`, () => {
      expect(roundTrip(new AppError("precondition", "X", "y", { detail })).detail).to.deep.equal(detail);
    });

  it("carries every finding of a plan", () => {
    const diagnostics: Diagnostic[] = [
      { severity: "error", operatorId: "join", property: "keys.0", message: "There is no column x." },
      { severity: "warning", operatorId: "", property: "", message: "Nothing is viewed." },
    ];
    expect(roundTrip(planInvalid(diagnostics)).detail).to.deep.equal({ kind: "PlanInvalid", diagnostics });
  });

  it("keeps trailers below 8 KiB however much there is to say, and says how much is missing", () => {
    const diagnostics = Array.from(
      { length: 500 },
      (_, index): Diagnostic => ({
        severity: index % 2 ? "error" : "warning",
        operatorId: `operator-${index}`,
        property: "predicate",
        message: `${"wörter ".repeat(20)}${index}`,
      }),
    );
    const sent = statusOf(planInvalid(diagnostics), unexpected);
    const [trailer] = sent.metadata.get("grpc-status-details-bin") as Buffer[];
    const bytes = trailer!.toString("base64").length + encodeURI(sent.details).length;
    expect(bytes).to.be.below(8_000);
    const { detail } = appErrorOf(received(sent), "host:1");
    const kept = detail?.kind === "PlanInvalid" ? detail.diagnostics : [];
    expect(kept.length).to.be.above(5);
    expect(kept.every(({ severity }) => severity === "error")).to.equal(true);
    expect(kept.at(-1)?.message).to.equal(
      `${500 - kept.length + 1} more findings: CompileService.Compile lists them all.`,
    );
  });

  it("sends any message as text that a header can carry", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 3_000 }), (message) => {
        const { details } = statusOf(new AppError("invalid", "X", message), unexpected);
        expect(encodeURI(details).length).to.be.at.most(2_048);
      }),
    );
  });

  it("hides what is no AppError, and an internal AppError, behind INTERNAL, and reports it whole", () => {
    for (const fault of [
      new TypeError("secret"),
      "secret",
      undefined,
      new AppError("internal", "INTERNAL", "secret"),
    ]) {
      const faults: unknown[] = [];
      const sent = statusOf(fault, (error) => faults.push(error));
      expect(sent).to.include({ code: status.INTERNAL, details: "internal error" });
      expect(Buffer.concat(sent.metadata.get("grpc-status-details-bin") as Buffer[]).toString()).not.to.contain(
        "secret",
      );
      expect(faults).to.deep.equal([fault]);
    }
  });

  it("names the server in the sentence for one that cannot be reached", () => {
    const error = appErrorOf(received({ code: status.UNAVAILABLE, details: "connect ECONNREFUSED" }), "127.0.0.1:7700");
    expect(error).to.include({ code: "unavailable", reason: "UNAVAILABLE" });
    expect(error.message).to.contain("127.0.0.1:7700").and.contain("ECONNREFUSED");
  });

  it("makes an AppError of every plain status, with a reason of the contract", () => {
    for (const code of Object.values(status).filter((one) => typeof one === "number" && one !== status.OK)) {
      const error = appErrorOf(received({ code: code as status, details: "said" }), "host:1");
      expect(ErrorReason, status[code as status]).to.have.property(`ERROR_REASON_${error.reason}`);
      expect(error.message).not.to.equal("");
    }
  });

  it("falls back to the plain status when the details are none of ours", () => {
    const metadata = new Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from([255, 255, 255]));
    expect(appErrorOf(received({ code: status.NOT_FOUND, details: "gone", metadata }), "host:1")).to.include({
      code: "not-found",
      message: "gone",
    });
  });
});
