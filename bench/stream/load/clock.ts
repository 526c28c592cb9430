// The clock that every process of one machine shares: it never steps, and a stamp of one process can be subtracted from
// a reading in another.

/** Microseconds since some moment before the machine's processes began. */
export const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n);
