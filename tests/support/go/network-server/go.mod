module hardway.invalid/network-server

go 1.26.0
