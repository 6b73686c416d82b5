// An S3 server that keeps one bucket in memory. Of the servers among Go modules, gofakes3 requires the fewest others. It
// answers real requests of S3's API, and accepts every signature.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	address, bucket := os.Args[1], os.Args[2]
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(address, gofakes3.New(backend).Server()))
}
