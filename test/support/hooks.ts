// What mocha does around a whole run; .mocharc.json requires this file.

export { stopSharedPostgres as mochaGlobalTeardown } from "./database.js";
