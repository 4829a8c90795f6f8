package dbsession_test

import "time"

const patience = time.Minute
