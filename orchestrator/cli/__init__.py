"""The command line. gRPC's own chatter about connections is no output of ours; it must be told before it is loaded."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
