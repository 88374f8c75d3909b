// The tables of a database as a GraphQL API with PostGraphile: its library on Node's own server.
import { createServer } from 'node:http'
import { postgraphile } from 'postgraphile'
import { makePgService } from 'postgraphile/adaptors/pg'
import { grafserv } from 'postgraphile/grafserv/node'
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'

const preset = {
  extends: [PostGraphileAmberPreset],
  // It lets only those columns be filtered and ordered by that an index begins with; ours are behind the owner's.
  disablePlugins: ['PgIndexBehaviorsPlugin'],
  pgServices: [makePgService({ connectionString: process.argv[3], schemas: ['public'] })],
  grafserv: { graphiql: false, watch: false },
}

const server = createServer()
await postgraphile(preset).createServ(grafserv).addTo(server)
server.listen(Number(process.argv[2]), '127.0.0.1')
