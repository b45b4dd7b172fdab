/** Keeps answers in the order of their questions. The network does not: an old list may arrive after the new one. */

export class AnswerOrder {
  #asked = 0;
  #taken = 0;

  /** Counts a question. The function that it returns says whether the answer still counts: none to a later question has been taken. */
  ask(): () => boolean {
    const own = ++this.#asked;
    return () => {
      if (own < this.#taken) return false;
      this.#taken = own;
      return true;
    };
  }
}
