// A server for tests of the network. It answers webhooks over TLS, and every datagram with the name of its host.
//
// It denies objects whose name is "denied", and admits all others with a warning. It converts objects between v1, which
// has the field "host", and v2, which has the field "hostname".
package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

const address = ":8443"

type object = map[string]any

// review has the fields of an AdmissionReview and of a ConversionReview that the server reads.
type review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    struct {
		UID               string   `json:"uid"`
		Name              string   `json:"name"`
		DesiredAPIVersion string   `json:"desiredAPIVersion"`
		Objects           []object `json:"objects"`
	} `json:"request"`
}

func admit(asked review) object {
	if asked.Request.Name == "denied" {
		return object{"allowed": false, "status": object{"message": "the name of the object is denied"}}
	}
	return object{"allowed": true, "warnings": []string{"the webhook admitted " + asked.Request.Name}}
}

func convert(asked review) object {
	version := asked.Request.DesiredAPIVersion
	from, to := "host", "hostname"
	if strings.HasSuffix(version, "/v1") {
		from, to = to, from
	}
	for _, each := range asked.Request.Objects {
		each["apiVersion"] = version
		if value, found := each[from]; found {
			each[to] = value
			delete(each, from)
		}
	}
	return object{"convertedObjects": asked.Request.Objects, "result": object{"status": "Success"}}
}

func serve(writer http.ResponseWriter, request *http.Request) {
	var asked review
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	log.Printf("%s %s from %s", asked.Kind, asked.Request.Name, request.RemoteAddr)
	var response object
	switch asked.Kind {
	case "AdmissionReview":
		response = admit(asked)
	case "ConversionReview":
		response = convert(asked)
	default:
		http.Error(writer, "unknown kind "+asked.Kind, http.StatusBadRequest)
		return
	}
	response["uid"] = asked.Request.UID
	answer := object{"apiVersion": asked.APIVersion, "kind": asked.Kind, "response": response}
	writer.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(writer).Encode(answer); err != nil {
		log.Print(err)
	}
}

func answerDatagrams() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	connection, err := net.ListenPacket("udp", address)
	if err != nil {
		log.Fatal(err)
	}
	buffer := make([]byte, 1024)
	for {
		_, client, err := connection.ReadFrom(buffer)
		if err == nil {
			_, err = connection.WriteTo([]byte(name+"\n"), client)
		}
		if err != nil {
			log.Print(err)
		}
	}
}

// The arguments are the files with the certificate and its key.
func main() {
	go answerDatagrams()
	log.Fatal(http.ListenAndServeTLS(address, os.Args[1], os.Args[2], http.HandlerFunc(serve)))
}
