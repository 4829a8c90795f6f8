import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'

// SAMPLE

const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: process.env.DATABASE_URL }) }) })
console.log((await placeOrder(db, process.argv[2])).id)
await db.destroy()
