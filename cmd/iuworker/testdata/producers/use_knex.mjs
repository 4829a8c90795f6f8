import Knex from 'knex'

// SAMPLE

const knex = Knex({ client: 'pg', connection: process.env.DATABASE_URL })
console.log((await placeOrder(knex, process.argv[2])).id)
await knex.destroy()
