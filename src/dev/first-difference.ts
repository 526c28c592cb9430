/** The first line in which a written file differs from a fresh one, for a hint. */
export function firstDifference(written: string, fresh: string): string {
  const [before, after] = [written.split("\n"), fresh.split("\n")];
  const at = after.findIndex((line, index) => line !== before[index]);
  const line = at < 0 ? after.length : at;
  return `line ${line + 1}\n- ${before[line] ?? "(end)"}\n+ ${after[line] ?? "(end)"}`;
}
