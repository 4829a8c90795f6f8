import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { bigint, pgSchema, text, uuid } from 'drizzle-orm/pg-core'

// SAMPLE

const db = drizzle(process.env.DATABASE_URL)
console.log(String((await placeOrder(db, process.argv[2])).id))
await db.$client.end()
