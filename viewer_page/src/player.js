// Which frame is shown, and playing: by the video's clock where there is a video, else by an own one.

export class Player {
  /**
   * times: seconds of the frames from the first. frameDuration: seconds that a frame lasts.
   * media: {video: the element, start: the first frame's time in it, frameDuration: of the video's frames}, or null.
   * changed: called after the frame, playing or the rate has changed.
   */
  constructor(times, frameDuration, media, changed) {
    const { video = null, start: mediaStart = 0 } = media ?? {};
    Object.assign(this, { times, frameDuration, media, video, mediaStart, changed });
    this.frame = 0;
    this.playing = false;
    this.rate = 1;
    this.wanted = null; // a media time to go to when the seek in progress has ended
    video?.addEventListener("seeked", () => this.#seekMedia());
    video?.addEventListener("ended", () => {
      if (this.playing) this.#show(this.frameAt(video.duration - this.mediaStart));
      this.pause();
    });
    video?.addEventListener("error", () => this.#dropVideo());
  }

  get last() {
    return this.times.length - 1;
  }

  get time() {
    return this.times[this.frame];
  }

  seek(frame) {
    this.#show(frame);
    this.#clockStart = null;
    if (this.video) {
      this.wanted = this.#mediaTime(this.frame);
      this.#seekMedia();
    }
  }

  setRate(rate) {
    this.rate = rate;
    this.#clockStart = null;
    if (this.video) this.video.playbackRate = rate;
    this.changed();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.playing) return;
    if (this.frame >= this.last) this.seek(0);
    this.playing = true;
    this.#clockStart = null;
    if (this.video) {
      this.video.playbackRate = this.rate;
      this.video.play().catch((error) => error.name !== "AbortError" && this.#dropVideo());
    }
    this.#tick();
    this.changed();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.request);
    if (this.video) {
      this.video.pause();
      this.wanted = this.#mediaTime(this.frame);
      this.#seekMedia();
    }
    this.changed();
  }

  /** The frame at a time in seconds from the first: the last that has begun. */
  frameAt(time) {
    let low = 0;
    for (let high = this.times.length; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle;
      else high = middle;
    }
    return low;
  }

  #clockStart = null; // [performance.now(), time of the scene] when the own clock was started

  #show(frame) {
    const limited = Math.min(Math.max(Math.round(frame), 0), this.last);
    if (limited === this.frame) return;
    this.frame = limited;
    this.changed();
  }

  #tick() {
    if (!this.playing) return;
    if (this.video?.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback((_, { mediaTime }) => this.#advance(mediaTime - this.mediaStart));
    } else if (this.video) {
      this.request = requestAnimationFrame(() => this.#advance(this.video.currentTime - this.mediaStart));
    } else {
      this.request = requestAnimationFrame((now) => {
        this.#clockStart ??= [now, this.time];
        this.#advance(this.#clockStart[1] + ((now - this.#clockStart[0]) / 1000) * this.rate);
      });
    }
  }

  #advance(time) {
    if (!this.playing) return;
    const end = this.times[this.last] + (this.video ? 0.5 : 1) * this.frameDuration;
    // A video that seeks still shows the frames from before.
    if (!this.video?.seeking && this.wanted === null) this.#show(this.frameAt(time + 1e-3));
    if (time >= end) this.pause();
    else this.#tick();
  }

  /** The middle of a frame's time in the video, which no rounding takes to another frame. */
  #mediaTime(frame) {
    const next = this.times[frame + 1] ?? Infinity;
    return this.mediaStart + this.times[frame] + Math.min(next - this.times[frame], this.media.frameDuration) / 2;
  }

  #seekMedia() {
    if (this.wanted === null || this.video?.seeking) return;
    this.video.currentTime = this.wanted;
    this.wanted = null;
  }

  #dropVideo() {
    this.video = null;
    this.wanted = null;
    if (this.playing) this.#tick();
    this.changed();
  }
}
