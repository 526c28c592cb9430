// The programs a bench starts beside the server, by name.
import { main as auth } from "./auth-server.js";
import { main as echo } from "./echo-server.js";
import { main as load } from "./load/main.js";

const [name, ...args] = process.argv.slice(2);
if (name === "load") load();
else if (name === "echo") await echo(Number(args[0]));
else if (name === "auth") await auth(args[0]!, Number(args[1]));
else throw new Error(`There is no program ${name}.`);
