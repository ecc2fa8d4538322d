// SPDX-License-Identifier: Apache-2.0

// Command kubectl is kubectl as its module makes it; hack/build builds it where a machine has none.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
}
