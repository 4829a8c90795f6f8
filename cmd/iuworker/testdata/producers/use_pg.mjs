import pg from 'pg'

// SAMPLE

const client = new pg.Client(process.env.DATABASE_URL)
await client.connect()
await placeOrder(client, process.argv[2])
console.log((await client.query('SELECT lastval()')).rows[0].lastval)
await client.end()
