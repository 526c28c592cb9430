// Named parameters: `:projectId` in a statement becomes a position, `$1`.

interface Statement {
  /** A name that occurs twice has two positions: Postgres finds the type of each from where it stands. */
  text: string;
  /** A name that occurs twice has one position. */
  numbered: string;
  /** In the order of `text`, and without repetition. */
  names: string[];
  distinctNames: string[];
}

// Strings, quoted names, dollar quotes and comments are passed over; `::` is a cast.
const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$|--[^\n]*|\/\*[\s\S]*?\*\/|::|:([A-Za-z_]\w*)/g;

const parsed = new Map<string, Statement>();
const rememberedStatements = 1_000;

function parse(sql: string): Statement {
  const known = parsed.get(sql);
  if (known) return known;
  const names: string[] = [];
  const text = sql.replace(TOKEN, (token, _tag: string | undefined, name: string | undefined) =>
    name === undefined ? token : `$${names.push(name)}`,
  );
  const distinctNames = [...new Set(names)];
  const numbered = sql.replace(TOKEN, (token, _tag: string | undefined, name: string | undefined) =>
    name === undefined ? token : `$${distinctNames.indexOf(name) + 1}`,
  );
  const statement = { text, numbered, names, distinctNames };
  if (parsed.size < rememberedStatements) parsed.set(sql, statement);
  return statement;
}

type Value = string | number | boolean | Date | Buffer | unknown[] | null;

/** The statement with positions instead of names, and its values in order; a name without a value is refused. */
export function withPositions(sql: string, params: Record<string, unknown>): { text: string; values: Value[] } {
  const { text, names } = parse(sql);
  return { text, values: names.map((name) => bound(name, params[name])) };
}

/** The same with one position for each name, however often it occurs. */
export function withNumbers(sql: string, params: Record<string, unknown>): { text: string; values: Value[] } {
  const { numbered, distinctNames } = parse(sql);
  return { text: numbered, values: distinctNames.map((name) => bound(name, params[name])) };
}

function bound(name: string, value: unknown): Value {
  if (value === undefined) throw new TypeError(`The statement's parameter :${name} has no value (use null for none).`);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean" || value === null)
    return value;
  if (value instanceof Date || Array.isArray(value)) return value;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return JSON.stringify(value);
}
