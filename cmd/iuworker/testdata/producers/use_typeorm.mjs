import { DataSource, EntitySchema } from 'typeorm'

// SAMPLE

const dataSource = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [NewEvent] })
await dataSource.initialize()
console.log((await placeOrder(dataSource, process.argv[2])).id)
await dataSource.destroy()
