"""model-signing with a key of an elliptic curve: one of

    key FOLDER                      makes FOLDER/private.pem and FOLDER/public.pem
    sign MODEL OUT FOLDER METHOD ALGORITHM [IGNORED...]    signs a model on its own terms; METHOD is files, or the size of a shard
    statement FILE OUT FOLDER       signs a statement that another program made
    verify MODEL BUNDLE FOLDER [links | METHOD ALGORITHM]   verifies; files may be links only where it is told so. It has
                                    to be told of shards and BLAKE2b: from the bundle, 1.1.1 takes a size for a
                                    float, and the algorithm by a name that it does not know

Prints null, or why it was refused.
"""

import json
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing, verifying


def key(folder):
    private = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "private.pem").write_bytes(pem)
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)


def hashed(method, algorithm):
    config = hashing.Config()
    if method == "files":
        return config.use_file_serialization(hashing_algorithm=algorithm)
    return config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=int(method))


def sign(model, out, folder, method, algorithm, *ignored):
    config = hashed(method, algorithm)
    config.set_ignored_paths(paths=[*ignored, out], ignore_git_paths=True)
    signer = signing.Config().set_hashing_config(config)
    signer.use_elliptic_key_signer(private_key=pathlib.Path(folder) / "private.pem").sign(model, out)


def statement(file, out, folder):
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from model_signing._signing import sign_ec_key

    class Payload:
        """Stands for the payload that model-signing makes of its own manifest."""

        class statement:
            pb = json_format.Parse(pathlib.Path(file).read_text(), statement_pb2.Statement())

    sign_ec_key.Signer(pathlib.Path(folder) / "private.pem").sign(Payload).write(pathlib.Path(out))


def verify(model, bundle, folder, *how):
    config = verifying.Config().use_elliptic_key_verifier(public_key=pathlib.Path(folder) / "public.pem")
    if len(how) == 2:
        config.set_hashing_config(hashed(*how))
    elif how:
        config.set_hashing_config(hashing.Config().use_file_serialization(allow_symlinks=True).set_allow_symlinks(True))
    config.verify(pathlib.Path(model), pathlib.Path(bundle))


what, *arguments = sys.argv[1:]
try:
    if what == "key":
        key(pathlib.Path(arguments[0]))
    else:
        {"sign": sign, "statement": statement, "verify": verify}[what](*arguments)
    print(json.dumps(None))
except ValueError as error:
    print(json.dumps(str(error)))
