import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from '@prisma/client'

// SAMPLE

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) })
console.log(String((await placeOrder(prisma, process.argv[2])).id))
await prisma.$disconnect()
