// The source of the loops that call user code once per row, written for the operator's columns: what is done for each row
// is nothing but making the row, calling, and storing what came back. It is run by an interpreter, which looks after
// every `let` and `const` whether it has been set: so there is only `var`.

/** A name as a key or an index. */
const key = (name) => JSON.stringify(name);
/** As a key of an object literal, where `__proto__` would mean something else. */
const member = (name) => (name === "__proto__" ? `[${key(name)}]` : key(name));

/** Evaluates to `makeLoops`, which gives for each input port its loop over calls, and what makes its rows. */
export function loopSource({ inputs, outputs, retain }) {
  return `(d) => {
  var { ports, entry, passesPort, protoOf, plainObject, each, flush, setRow } = d;
  return [${inputs.map((schema, port) => loopOf(port, schema, outputs, retain)).join(",\n")}];
}`;
}

function loopOf(port, schema, outputs, retain) {
  const values = schema.map((_, c) => `v${c}`);
  const row = `{${schema.map(({ name }, c) => `${member(name)}: v${c}`).join(", ")}}`;
  const given = values.map((value) => `, ${value}`).join("");
  const read = schema
    .map(({ type }, c) =>
      type === "boolean"
        ? `var b${c} = c${c}[i], v${c} = b${c} === 1 ? true : b${c} === 0 ? false : null;`
        : `var v${c} = c${c}[i];`,
    )
    .join(" ");
  const lists = schema.map((_, c) => `c${c}`);
  const begin = lists.map((list, c) => `${list} = given[${c}];`).join(" ");
  return `(() => {
  ${lists.length > 0 ? `var ${lists.join(", ")};` : ""}
  ${outputs.map((output, n) => adderOf(n, output, schema, retain, given)).join("\n  ")}
  var adds = [${outputs.map((_, n) => `add${n}`).join(", ")}];
  var first = ports[0];
  return {
    call(given, count, limitNow) {
      ${begin} ${outputs.map((_, n) => `start${n}();`).join(" ")}
      var limit = limitNow(), i = 0, result;
      var take = (port, one) => {
        if (port.rows >= limit) {
          flush(port, false);
          limit = limitNow();
        }
        adds[port.number](one, i${lists.map((list, c) => `, ${schema[c].type === "boolean" ? truth(`${list}[i]`) : `${list}[i]`}`).join("")});
      };
      try {
        for (; i < count; i++) {
          ${read}
          result = passesPort ? entry(${row}, ${port}) : entry(${row});
          if (result === null || result === undefined) continue;
          if (${isPlain(outputs[0], schema, retain)}) {
            if (first.rows >= limit) {
              flush(first, false);
              limit = limitNow();
              start0();
            }
            add0(result, i${given});
          } else each(result, take);
        }
      } catch (error) {
        setRow(i);
        throw error;
      }
    },
    rows(given, count) {
      ${begin}
      var rows = [];
      for (var i = 0; i < count; i++) {
        ${read}
        rows.push(${row});
      }
      return rows;
    },
  };
})()`;
}

const truth = (byte) => `(${byte} === 1 ? true : ${byte} === 0 ? false : null)`;

/** Names that lists, generators, texts, promises and functions have too. */
const COMMON = [[], "", 0, () => {}, (function* () {})(), Promise.resolve(), new Map()];

/**
 * Whether a result is a single row. One that has a column which nothing else has under this name is; of others the
 * prototype tells, which takes a call.
 */
function isPlain(output, input, retain) {
  const telling = output.find(
    ({ name }) =>
      !(retain && input.some((column) => column.name === name)) && COMMON.every((one) => !(name in Object(one))),
  );
  const proto = `typeof result === "object" && protoOf(result) === plainObject`;
  return telling === undefined || telling.name === "port" || telling.name === "value"
    ? proto
    : `result[${key(telling.name)}] !== undefined || (${proto})`;
}

/** What holds for a value that can be stored as it is. */
const SIMPLE = {
  string: 'typeof x === "string"',
  timestamp: 'typeof x === "string"',
  integer: "(x | 0) === x",
  long: 'typeof x === "number"',
  double: 'typeof x === "number"',
};

/**
 * Takes a row for output port `n`. A retained column that no row overwrites is not gathered at all: `kept` names the
 * input's column. With the first row that differs, the rows before it are filled in.
 */
function adderOf(n, output, input, retain, given) {
  const places = new Map(input.map(({ name }, c) => [name, c]));
  const declared = output.map((_, c) => `var s${n}_${c} = ports[${n}].columns[${c}], l${n}_${c} = s${n}_${c}.list;`);
  const keeps = [];
  const stores = output.map(({ name, type }, c) => {
    const place = retain ? places.get(name) : undefined;
    if (place === undefined) return `x = r[${key(name)}]; ${storeOf(n, c, type, "r")}`;
    const base = `x = r[${key(name)}]; if (x === undefined) x = v${place};`;
    const store = storeOf(n, c, type, `{ ${member(name)}: x }`);
    if (input[place].type !== type || type === "any" || type === "binary") return `${base} ${store}`;
    keeps.push({ c, place });
    // Most often there is nothing to do.
    return `x = r[${key(name)}]; if (x !== undefined && x !== v${place} || !k${n}_${c}) { if (x === undefined) x = v${place}; if (k${n}_${c}) fill${n}_${c}(n); ${store} }`;
  });
  const fills = keeps.map(({ c, place }) => {
    const { name, type } = output[c];
    const value = type === "boolean" ? truth(`c${place}[from]`) : `c${place}[from]`;
    return `var fill${n}_${c} = (rows) => {
    k${n}_${c} = false;
    s${n}_${c}.kept = -1;
    for (var n = 0; n < rows; n++) {
      var from = o${n}[n], x = ${value};
      ${storeOf(n, c, type, `{ ${member(name)}: x }`)}
    }
  };`;
  });
  return `${declared.join(" ")}
  var p${n} = ports[${n}], o${n} = p${n}.origins;
  ${keeps.map(({ c }) => `var k${n}_${c} = true;`).join(" ")}
  ${fills.join("\n  ")}
  var start${n} = () => { ${keeps.map(({ c, place }) => `k${n}_${c} = true; s${n}_${c}.kept = ${place};`).join(" ")} };
  var add${n} = (r, i${given}) => {
    var n = p${n}.rows, x;
    ${stores.join("\n    ")}
    o${n}[n] = i;
    p${n}.rows = n + 1;
  };`;
}

/** Stores x as value n of a column; `given` is the row that is asked whether it has the column at all. */
function storeOf(port, c, type, given) {
  const put = `s${port}_${c}.put(n, x, ${given});`;
  const list = `l${port}_${c}[n]`;
  if (type === "boolean") return `if (x === true) ${list} = 1; else if (x === false) ${list} = 0; else ${put}`;
  return SIMPLE[type] ? `if (${SIMPLE[type]}) ${list} = x; else ${put}` : put;
}
