"""The sizes of the small HMR 2.0 whose figures were computed with the released code."""

SMALL = {
    "encoder_dim": 64,
    "encoder_depth": 3,
    "encoder_heads": 4,
    "decoder_dim": 40,
    "decoder_depth": 2,
    "decoder_heads": 2,
    "decoder_dim_head": 16,
    "decoder_mlp_dim": 48,
}
