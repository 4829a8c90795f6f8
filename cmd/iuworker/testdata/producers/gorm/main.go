// Command gorm runs gorm's sample.
package main

import (
	"fmt"
	"os"

	"github.com/google/uuid"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// SAMPLE

func main() {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")))
	if err != nil {
		panic(err)
	}
	event, err := placeOrder(db, uuid.MustParse(os.Args[1]))
	if err != nil {
		panic(err)
	}
	fmt.Println(event.ID)
}
