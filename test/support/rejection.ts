/** What a promise is rejected with; fails when it is fulfilled. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: unknown; reason?: string }> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw new Error(`Rejected with something that is no Error: ${String(error)}`);
  }
  throw new Error(`Expected a rejection, got ${JSON.stringify(value)}`);
}
