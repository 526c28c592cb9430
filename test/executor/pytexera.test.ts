// Functions written for Apache Texera, as their authors wrote them.
import { spawnSync } from "node:child_process";
import { expect } from "chai";
import type { FunctionCall } from "../../src/core/plan.js";
import type { UserCodeHost } from "../../src/executor/user-code/host.js";
import { type FunctionTry, PYTHON, pandas, pandasHost, tried } from "../support/function-runs.js";
import { thisHost } from "../support/plan-runs.js";

const PEOPLE = {
  schema: "name:string age:integer score:double",
  sql: "select * from (values ('Ann', 30::integer, 0.5::double), ('Bob', null, 1.5), (null, 52, null))",
};
const EMAILS = {
  schema: "Email:string",
  sql: "select * from (values ('jts@gmail.com'), ('xyz@gmial.com'), ('knimer@somesite.co'))",
};

const SPLIT = `from pytexera import *
class ProcessTupleOperator(UDFOperatorV2):
    @overrides
    def process_tuple(self, tuple_: Tuple, port: int) -> Iterator[Optional[TupleLike]]:
        result = tuple_["Email"].split("@")
        tuple_["Email_Arr[0]"] = result[0]
        tuple_["Email_Arr[1]"] = result[1]
        yield tuple_
`;

const COUNTER = `from pytexera import *

class ProcessTupleOperator(UDFOperatorV2):
    @overrides
    def open(self) -> None:
        self.counter = 0

    @overrides
    def process_tuple(self, tuple_: Tuple, port: int) -> Iterator[Optional[TupleLike]]:
        tuple_["Counter"] = self.counter
        self.counter += 1
        yield tuple_
`;

/** The nearest of the domains of port 0 for each of port 1. */
const NEAREST = `from pytexera import *

def levenshtein_distance(s1, s2):
    if len(s1) < len(s2):
        return levenshtein_distance(s2, s1)

    if len(s2) == 0:
        return len(s1)

    previous_row = range(len(s2) + 1)
    for i, c1 in enumerate(s1):
        current_row = [i + 1]
        for j, c2 in enumerate(s2):
            insertions = previous_row[j + 1] + 1
            deletions = current_row[j] + 1
            substitutions = previous_row[j] + (c1 != c2)
            current_row.append(min(insertions, deletions, substitutions))
        previous_row = current_row

    return previous_row[-1]

def normalized_levenshtein_distance(str1, str2):
    return levenshtein_distance(str1, str2) / max(len(str1), len(str2))

class ProcessTableOperator(UDFTableOperator):
    @overrides
    def process_table(self, table: Table, port: int) -> Iterator[Optional[TableLike]]:
        if port == 0:
            print(table)
            self.data = table
        else:
            counters = []
            distances = []
            for email2 in table['Email_Arr[1]']:
                min_distance = float('inf')
                counter = None
                for index, row in self.data.iterrows():
                    distance = normalized_levenshtein_distance(row['Email_Arr[1]'], email2)
                    if distance < min_distance:
                        min_distance = distance
                        counter = row['Counter']
                counters.append(counter)
                distances.append(min_distance)

            table['distance'] = distances
            table['Counter'] = counters
            yield table
`;

const LABEL = `from pytexera import *

class ProcessTupleOperator(UDFOperatorV2):
    @overrides
    def process_tuple(self, tuple_: Tuple, port: int) -> Iterator[Optional[TupleLike]]:
        if tuple_["is_spam"] != None:
            if tuple_["is_spam"] == True:
                tuple_["outcome"] = "Fradulent mail"
        if tuple_["outcome"] == None:
            tuple_["outcome"] = "hotlisted"
        tuple_["Labels"] = tuple_["outcome"]
        yield tuple_
`;

describe(`pytexera, row by row${PYTHON ? "" : " (pending: this machine has no python3)"}`, () => {
  let host: UserCodeHost;
  before(async function () {
    this.timeout(30_000);
    if (!PYTHON) this.skip();
    host = await thisHost();
  });
  const run = (code: string, what: Omit<FunctionTry, "language" | "code" | "entryPoint">) =>
    tried({ language: "python", code, entryPoint: "ProcessTupleOperator", host, ...what });

  it("changes tuples in place and yields them", async () => {
    const { rows, failure } = await run(SPLIT, {
      retain: true,
      inputs: [EMAILS],
      outputs: ["Email:string Email_Arr[0]:string Email_Arr[1]:string"],
    });
    expect(failure?.message).to.equal(undefined);
    expect(rows[0]).to.deep.equal([
      ["jts@gmail.com", "jts", "gmail.com"],
      ["xyz@gmial.com", "xyz", "gmial.com"],
      ["knimer@somesite.co", "knimer", "somesite.co"],
    ]);
  });

  it("keeps what open has set", async () => {
    const { rows } = await run(COUNTER, { retain: true, inputs: [EMAILS], outputs: ["Email:string Counter:integer"] });
    expect(rows[0]?.map(([, n]) => n)).to.deep.equal([0, 1, 2]);
  });

  it("sees missing values as None, and may overwrite what it was given", async () => {
    const { rows } = await run(LABEL, {
      retain: true,
      inputs: [
        {
          schema: "is_spam:boolean outcome:string",
          sql: "select * from (values (true, 'x'), (null, null), (false, 'Valid mail'))",
        },
      ],
      outputs: ["is_spam:boolean outcome:string Labels:string"],
    });
    expect(rows[0]).to.deep.equal([
      [true, "Fradulent mail", "Fradulent mail"],
      [null, "hotlisted", "hotlisted"],
      [false, "Valid mail", "Valid mail"],
    ]);
  });

  it("reaches fields by name, position and attribute, and lists them in order", async () => {
    const code = `from pytexera import *
class ProcessTupleOperator(UDFOperatorV2):
    def process_tuple(self, tuple_: Tuple, port: int) -> Iterator[Optional[TupleLike]]:
        assert tuple_["name"] == tuple_[0] == tuple_.name == tuple_.get_fields()[0]
        assert tuple_.get_field_names() == ("name", "age", "score") and len(tuple_) == 3 and "age" in tuple_
        assert list(tuple_) == list(tuple_.get_fields()) and tuple_.get_fields(["score", "age"]) == (tuple_[2], tuple_[1])
        assert tuple_.as_dict() == dict(tuple_.as_key_value_pairs()) and type(tuple_.as_dict()) is dict
        assert Tuple({"a": 1}) == Tuple({"a": 1}) != Tuple({"a": 2}) and str(Tuple({"a": 1})) == "Tuple['a': 1]"
        assert tuple_.get_partial_tuple(["age"]) == Tuple({"age": tuple_["age"]})
        logger.info("port {}", port)
        yield None
        yield {"name": tuple_["name"], "age": tuple_[1], "score": float("nan")}
    def on_finish(self, port: int) -> Iterator[Optional[TupleLike]]:
        yield Tuple({"name": "end", "age": port, "score": 1})
`;
    const { rows, lines, failure } = await run(code, { inputs: [PEOPLE], outputs: [PEOPLE.schema] });
    expect(failure?.message).to.equal(undefined);
    expect(rows[0]).to.deep.equal([
      ["Ann", 30, null],
      ["Bob", null, null],
      [null, 52, null],
      ["end", 0, 1],
    ]);
    expect(lines).to.deep.equal(["port 0", "port 0", "port 0"]);
  });

  it("joins two inputs, the first read to its end before the second", async () => {
    const code = `from collections import defaultdict
from pytexera import *
class ProcessTupleOperator(UDFOperatorV2):
    def open(self):
        self.left = defaultdict(list)
    def process_tuple(self, tuple_: Tuple, port: int) -> Iterator[Optional[TupleLike]]:
        if port == 0:
            self.left[tuple_["key"]].append(tuple_)
        else:
            for left in self.left.get(tuple_["key"], []):
                yield {**left, **tuple_}
`;
    const { rows } = await run(code, {
      inputs: [
        { schema: "key:integer a:string", sql: "select * from (values (1, 'x'), (1, 'y'), (2, 'z'))" },
        { schema: "key:integer b:string", sql: "select * from (values (1, 'p'), (3, 'q'))" },
      ],
      outputs: ["key:integer a:string b:string"],
    });
    expect(rows[0]).to.deep.equal([
      [1, "x", "p"],
      [1, "y", "p"],
    ]);
  });

  it("that fails shows its own lines", async () => {
    const { failure } = await run(SPLIT, {
      inputs: [{ schema: "Email:string", sql: "select * from (values ('a@b'), ('nobody'))" }],
      outputs: ["Email:string"],
    });
    expect(failure?.message).to.equal(
      "The function of operator f failed at input row 2: IndexError: list index out of range",
    );
    expect(failure?.detail).to.match(
      /File "user_code.py", line 7, in process_tuple\n\s+tuple_\["Email_Arr\[1\]"\] = result\[1\]/,
    );
  });
});

describe(`pytexera over tables${pandas.note}`, () => {
  let host: UserCodeHost;
  before(async function () {
    this.timeout(30_000);
    if (pandas.isMissing) this.skip();
    host = await pandasHost();
  });
  const run = (
    code: string,
    entryPoint: string,
    call: FunctionCall,
    what: Omit<FunctionTry, "language" | "code" | "entryPoint">,
  ) => tried({ language: "python", code, entryPoint, call, host, ...what });

  it("compares the tables of two inputs", async () => {
    const { rows, lines, failure } = await run(NEAREST, "ProcessTableOperator", "table", {
      inputs: [
        {
          schema: "Email_Arr[1]:string Counter:integer",
          sql: "select * from (values ('gmail.com', 0), ('web.de', 1))",
        },
        { schema: "Email_Arr[1]:string", sql: "select * from (values ('gmial.com'), ('wep.de'))" },
      ],
      outputs: ["Email_Arr[1]:string Counter:integer distance:double"],
    });
    expect(failure?.message).to.equal(undefined);
    expect(rows[0]).to.deep.equal([
      ["gmial.com", 0, 2 / 9],
      ["wep.de", 1, 1 / 6],
    ]);
    expect(lines[0]).to.match(/Email_Arr\[1\]\s+Counter/);
  });

  it("has tables and batches that are frames, and tuples of them", async () => {
    const code = `import pandas
from pytexera import *
class ProcessTableOperator(UDFTableOperator):
    def process_table(self, table: Table, port: int) -> Iterator[Optional[TableLike]]:
        assert isinstance(table, pandas.DataFrame) and type(table).__name__ == "Table"
        for tuple_ in table.as_tuples():
            if tuple_["name"] == "Ann":
                yield tuple_
        yield [{"name": "list", "age": 1, "score": 2.0}]
        yield Table([Tuple({"name": "table", "age": 3, "score": 4.0})])
        yield pandas.Series({"name": "series", "age": 5, "score": 6.0})
        yield table[table["age"] == 52]
`;
    const { rows, failure } = await run(code, "ProcessTableOperator", "table", {
      inputs: [PEOPLE],
      outputs: [PEOPLE.schema],
    });
    expect(failure?.message).to.equal(undefined);
    expect(rows[0]).to.deep.equal([
      ["Ann", 30, 0.5],
      ["list", 1, 2],
      ["table", 3, 4],
      ["series", 5, 6],
      [null, 52, null],
    ]);
  });

  it("batches have the size the class says", async () => {
    const code = `from pytexera import *
class ProcessBatchOperator(UDFBatchOperator):
    BATCH_SIZE = 7
    def process_batch(self, batch: Batch, port: int) -> Iterator[Optional[BatchLike]]:
        batch["rows"] = len(batch)
        yield batch
`;
    const { rows } = await run(code, "ProcessBatchOperator", "batch", {
      inputs: [{ schema: "n:integer", sql: "select i::integer as n from range(16) r(i)" }],
      outputs: ["n:integer rows:integer"],
    });
    expect(rows[0]?.map(([, size]) => size)).to.deep.equal([...Array(14).fill(7), 2, 2]);
  });

  it("sources yield rows and tables", async () => {
    const code = `import pandas
from pytexera import *
class GenerateOperator(UDFSourceOperator):
    def produce(self) -> Iterator[Union[TupleLike, TableLike, None]]:
        yield None
        yield {"n": 1}
        yield pandas.DataFrame({"n": [2, 3]})
        yield Tuple({"n": 4})
`;
    const { rows } = await run(code, "GenerateOperator", "source", { inputs: [], outputs: ["n:integer"] });
    expect(rows[0]).to.deep.equal([[1], [2], [3], [4]]);
  });
});

const BARE_PYTHON = PYTHON && spawnSync("python3", ["-I", "-c", "import pandas"]).status !== 0;

describe("a function over tables without pandas", () => {
  it(`is told what the executor needs${BARE_PYTHON ? "" : " (pending: python3 has pandas, or is not there)"}`, async function () {
    if (!BARE_PYTHON) this.skip();
    const { failure } = await tried({
      language: "python",
      code: "import sys\ndef process_table(frame):\n    return frame\n",
      entryPoint: "process_table",
      call: "table",
      inputs: [PEOPLE],
      outputs: [PEOPLE.schema],
      host: await thisHost(),
    });
    expect(failure?.message).to.match(
      /^The function of operator f is called with whole tables, which takes pandas, and this executor's Python has none \(.*\); install pandas into a virtual environment, and set POSTERN_PYTHON to its bin\/python\.$/,
    );
  });
});
