// The S3 server with what the tests and the sample use of it: files below a folder, one account, no other service.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	log.SetFlags(0)
	config := embedgw.Config{
		RootUserAccess: os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret: os.Getenv("ROOT_SECRET_KEY"),
		// The defaults of the full program.
		MaxConnections:    250_000,
		MaxRequests:       100_000,
		MultipartMaxParts: 10_000,
	}
	var port, versions string
	server := flag.NewFlagSet("versitygw", flag.ExitOnError)
	server.StringVar(&port, "port", ":7070", "`address` to listen on")
	server.StringVar(&config.CertFile, "cert", "", "certificate `file`, for TLS")
	server.StringVar(&config.KeyFile, "key", "", "`file` of its key")
	server.BoolVar(&config.Quiet, "quiet", false, "do not log requests")
	server.BoolVar(&config.KeepAlive, "keep-alive", false, "keep connections open")
	store := flag.NewFlagSet("versitygw posix", flag.ExitOnError)
	store.StringVar(&versions, "versioning-dir", "", "`folder` of the older versions of objects")

	server.Parse(os.Args[1:])
	if server.Arg(0) != "posix" {
		log.Fatal("usage: versitygw [FLAG…] posix [--versioning-dir FOLDER] FOLDER")
	}
	store.Parse(server.Args()[1:])
	if store.NArg() != 1 {
		log.Fatal("usage: versitygw [FLAG…] posix [--versioning-dir FOLDER] FOLDER")
	}
	config.Ports = []string{port}
	if err := serve(&config, store.Arg(0), versions); err != nil {
		log.Fatal(err)
	}
}

// serve answers requests until the process is told to end.
func serve(config *embedgw.Config, folder, versions string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := (meta.XattrMeta{}).Test(folder); err != nil {
		return fmt.Errorf("%s keeps no extended attributes: %w", folder, err)
	}
	options := posix.PosixOpts{
		VersioningDir:       versions,
		Concurrency:         5000,
		CopyObjectThreshold: 5 << 30,
	}
	options.SetNewDirPerm(0o755)
	options.SetNewFilePerm(0o644)
	backend, err := posix.New(folder, meta.XattrMeta{}, options)
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, config)
}
