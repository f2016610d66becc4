// Sentences as lines of a given number of characters. Knows no rendering.

/** Breaks at spaces; a word longer than `characters` gets a line of its own. */
export function wrap(sentence: string, characters: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of sentence.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && longer.length > characters) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line];
}
