"""What a file is: found out by a confined worker, from the bytes alone."""

from __future__ import annotations

# ffmpeg's demuxers that open nothing but the file they are in. Not here: playlists (hls, dash, imf,
# concat, sdp), numbered pictures (image2), text (tty, srt), and index files that name others.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,gif,rm,dv,"
    "ivf,h264,hevc,m4v,h263,vvc,av1,obu,vc1,nut,wtv,gxf,dhav,apng,webp_anim,yuv4mpegpipe"
)
DEMUXERS = frozenset(FORMATS.split(","))
KINDS = frozenset({"video", "audio", "subtitle", "data", "attachment"})  # of streams
# how the names of codecs begin whose packets may be zeros: black and silence
BARE = (
    "pcm_", "raw", "v210", "v308", "v408", "v410", "r10k", "r210", "avrp", "ayuv", "y41p", "yuv4",
)  # fmt: skip
