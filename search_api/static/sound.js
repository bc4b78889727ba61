// The microphone: recorded by the browser in whatever it records in, sent as WAV, which the API reads without ffmpeg.

const RATE = 16000;
const LONGEST = 30;

/** Record until `stop` or for LONGEST seconds. `ended` gets the WAV file, or the error. */
export async function record(ended) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  recorder.addEventListener("stop", async () => {
    stream.getTracks().forEach((track) => track.stop());
    try {
      ended(await toWav(new Blob(parts, { type: recorder.mimeType })));
    } catch (error) {
      ended(null, error);
    }
  });
  recorder.start();
  const timer = setTimeout(stop, LONGEST * 1000);
  function stop() {
    clearTimeout(timer);
    if (recorder.state !== "inactive") recorder.stop();
  }
  return stop;
}

/** Whether this page may ask for the microphone: browsers allow it on https and on this machine only. */
export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

async function toWav(blob) {
  const context = new AudioContext();
  const decoded = await context.decodeAudioData(await blob.arrayBuffer());
  await context.close();
  const offline = new OfflineAudioContext(1, Math.max(1, Math.ceil(decoded.duration * RATE)), RATE);
  const source = new AudioBufferSourceNode(offline, { buffer: decoded });
  source.connect(offline.destination);
  source.start();
  const samples = (await offline.startRendering()).getChannelData(0);
  return new File([wav(samples)], "recorded.wav", { type: "audio/wav" });
}

function wav(samples) {
  const data = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, place) => data.setUint8(at + place, letter.charCodeAt(0)));
  text(0, "RIFF");
  data.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true);
  data.setUint16(22, 1, true);
  data.setUint32(24, RATE, true);
  data.setUint32(28, 2 * RATE, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  text(36, "data");
  data.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, place) => data.setInt16(44 + 2 * place, Math.max(-1, Math.min(1, sample)) * 32767, true));
  return data.buffer;
}
