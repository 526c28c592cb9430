// Executors that are connected to this replica now. Only for people (ListComputingUnits) and for logs: the queue in
// Postgres decides who gets what.

export interface ConnectedExecutor {
  executorId: string;
  projectId: string;
  computingUnitId: string;
  freeSlots: number;
  /** Program and release, as the executor tells them. */
  software: string;
  /** As the executor tells them. */
  labels: Readonly<Record<string, string>>;
}

export interface ConnectedExecutors {
  /** Counts the executor until the returned function is called; `freeSlots` is read at each question. */
  add(executor: ConnectedExecutor): () => void;
  of(projectId: string, computingUnitId: string): { executors: number; freeSlots: number };
}

export function createConnectedExecutors(): ConnectedExecutors {
  const connected = new Set<ConnectedExecutor>();
  return {
    add(executor) {
      connected.add(executor);
      return () => connected.delete(executor);
    },
    of(projectId, computingUnitId) {
      const here = [...connected].filter((e) => e.projectId === projectId && e.computingUnitId === computingUnitId);
      return { executors: here.length, freeSlots: here.reduce((sum, e) => sum + Math.max(0, e.freeSlots), 0) };
    },
  };
}
