// What a schedule is looked for: operators, the links between their ports, and which links must be materialised.
//
// Ids are the caller's. Nothing depends on the order in which operators and links are given: they are put into the
// order of their ids first (link-graph.ts), and every tie is decided in that order.

export interface SchedulingProblem {
  operators: ProblemOperator[];
  /** Several links may end in one input port or leave one output port; two may join the same ports. */
  links: ProblemLink[];
  /** Output ports that are written in any case, because somebody looks at them. */
  viewed: { operator: string; port: number }[];
  /** Estimated bytes of an output port. Without it, and where it knows nothing, ports count as empty. */
  bytes?(operator: string, port: number): number | undefined;
}

export interface ProblemOperator {
  id: string;
  /** How long it took in the last run; absent counts as 0. */
  seconds?: number;
}

export interface ProblemLink {
  id: string;
  from: string;
  fromPort: number;
  to: string;
  toPort: number;
  mustMaterialize: boolean;
  /** Why it must be, as a sentence; empty when it need not. */
  why: string;
  /**
   * The rows are in storage already: they are read, which costs a read, but neither written nor waited for. What they
   * come from need not be among the operators.
   */
  stored?: boolean;
}
