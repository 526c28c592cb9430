/** What `postern doctor` says of one thing. */
export interface Finding {
  what: string;
  verdict: "ok" | "warn" | "fail";
  /** What was found. */
  found: string;
  /** What to do about it; empty when there is nothing to do. */
  next: string;
}

export const ok = (what: string, found: string): Finding => ({ what, verdict: "ok", found, next: "" });
export const warn = (what: string, found: string, next: string): Finding => ({ what, verdict: "warn", found, next });
export const fail = (what: string, found: string, next: string): Finding => ({ what, verdict: "fail", found, next });
