// Command bun runs bun's sample.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// SAMPLE

func main() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	event, err := placeOrder(context.Background(), bun.NewDB(db, pgdialect.New()), uuid.MustParse(os.Args[1]))
	if err != nil {
		panic(err)
	}
	if event.IdempotencyKey == "" {
		panic("no idempotency key")
	}
	fmt.Println(event.ID)
}
