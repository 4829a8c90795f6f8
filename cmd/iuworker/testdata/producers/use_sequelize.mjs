import { DataTypes, Sequelize } from 'sequelize'

const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false })

// SAMPLE

console.log((await placeOrder(process.argv[2])).id)
await sequelize.close()
