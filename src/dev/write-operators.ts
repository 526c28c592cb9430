// Writes docs/operators.md from the definitions of the operators, or with --check says whether it is up to date.
import { OPERATOR_TYPES } from "../core/operators/catalogue.js";
import { writeOrCheck } from "./made-file.js";
import { operatorsPage } from "./operators-page.js";

await writeOrCheck({
  path: "docs/operators.md",
  command: "make operators",
  content: () => operatorsPage([...OPERATOR_TYPES.values()]),
});
